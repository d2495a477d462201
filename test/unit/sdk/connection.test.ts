import type { TidingsError } from '@tidings/sdk/protocol'
import { describe, expect, it } from 'vitest'
import { Connection, type Dialect, PROBE_MS, SILENCE_MS } from '../../../sdk/src/connection.ts'
import { Connector } from '../../../sdk/src/connector.ts'
import type { Token } from '../../../sdk/src/credentials.ts'
import { verdictOfRefusal } from '../../../sdk/src/upgrade-refusal.ts'
import { settle } from '../../support/settle.ts'
import { SimPlatform, type SimSocket } from '../../support/sim-platform.ts'

const dialect: Dialect = {
  subprotocol: 'test',
  probe: () => '{"type":"ack","ids":[],"request":"alive"}',
  auth: (token) => JSON.stringify({ type: 'auth', token }),
  pause: () => '{"type":"pause"}',
}

class Rig {
  readonly platform = new SimPlatform()
  readonly connection: Connection
  readonly events: string[] = []

  constructor(token?: Token, url: string | string[] = 'http://a') {
    const note = (what: string) => (error?: TidingsError | null) => {
      this.events.push(error ? `${what} ${error.code}` : what)
    }
    this.connection = new Connection(new Connector(this.platform, url, token, verdictOfRefusal), '/stream', {
      opened: note('opened'),
      dialect,
      received: (data) => {
        if (typeof data !== 'string' || data === 'nonsense') throw new Error('nonsense')
        this.events.push(data)
      },
      left: note('left'),
      trouble: note('trouble'),
      finishedForGood: note('finished'),
    })
  }

  get socket(): SimSocket {
    return this.platform.socket
  }

  takeEvents(): string[] {
    return this.events.splice(0)
  }

  open(): void {
    this.connection.start()
    this.socket.open()
    this.takeEvents()
  }

  /** Waits for the next socket. */
  async reconnected(): Promise<SimSocket> {
    const before = this.platform.sockets.length
    while (this.platform.sockets.length === before) {
      expect(this.platform.clock.runNext()).toBe(true)
      await settle()
    }
    return this.socket
  }
}

describe('a connection', () => {
  it('opens, hears and closes', () => {
    const rig = new Rig()
    rig.connection.start()
    expect([rig.socket.url, rig.connection.state, rig.connection.isLive]).toEqual([
      'ws://a/stream',
      'connecting',
      false,
    ])
    rig.socket.open()
    rig.socket.say('"x"')
    rig.connection.stop()
    expect([rig.socket.closedWith, rig.connection.state]).toEqual([1000, 'closing'])
    rig.socket.end(1000)
    expect(rig.takeEvents()).toEqual(['opened', '"x"', 'left', 'finished'])
    expect(rig.platform.clock.pending).toBe(0)
  })

  it.each([1012, 1006, 1013, 4421, 4409, 1001])('comes again after close code %i, to the next broker', async (code) => {
    const rig = new Rig(undefined, ['http://a', 'https://b/base/'])
    rig.open()
    rig.socket.end(code)
    expect(rig.takeEvents()).toEqual([expect.stringMatching(/^trouble /), 'left'])
    const next = await rig.reconnected()
    expect(next.url).toBe('wss://b/base/stream')
    next.open()
    expect(rig.takeEvents()).toEqual(['opened'])
  })

  it.each([
    [4400, 'invalid_argument'],
    [4401, 'unauthenticated'],
    [4403, 'permission_denied'],
    [4404, 'subscription_not_found'],
    [4410, 'subscription_not_found'],
    [4413, 'message_too_large'],
  ])('ends for good after close code %i with %s', (code, expected) => {
    const rig = new Rig()
    rig.open()
    rig.socket.end(code)
    expect(rig.takeEvents()).toEqual(['left', `finished ${expected}`])
    expect(rig.platform.clock.pending).toBe(0)
  })

  it('ends for good when the upgrade is refused for good, and waits as asked when not', async () => {
    const rig = new Rig()
    const { clock } = rig.platform
    rig.connection.start()
    rig.socket.end({ kind: 'refused', status: 503, retryAfter: '3', body: '{"code":"overloaded"}' })
    const refusedAt = clock.monotonic()
    const next = await rig.reconnected()
    expect(clock.monotonic() - refusedAt).toBeGreaterThanOrEqual(3000)
    next.end({ kind: 'refused', status: 403, retryAfter: null, body: '{"code":"permission_denied"}' })
    expect(rig.takeEvents()).toEqual(['trouble overloaded', 'finished permission_denied'])
  })

  it('spreads its attempts under a bound that doubles, and begins anew after a good connection', async () => {
    const rig = new Rig()
    const { clock } = rig.platform
    rig.connection.start()
    const waits: number[] = []
    for (let i = 0; i < 12; i++) {
      const at = clock.monotonic()
      rig.socket.end({ kind: 'lost', cause: 'x' })
      await rig.reconnected()
      waits.push(clock.monotonic() - at)
    }
    waits.forEach((waitMs, i) => expect(waitMs).toBeLessThanOrEqual(Math.min(3000, 100 * 2 ** i)))
    expect(Math.max(...waits)).toBeGreaterThan(1000)
    rig.socket.open()
    clock.advance(6000)
    const at = clock.monotonic()
    rig.socket.end(1006)
    await rig.reconnected()
    expect(clock.monotonic() - at).toBeLessThanOrEqual(100)
  })

  it('asks a silent broker for a sign of life, and replaces a connection that gives none', async () => {
    const rig = new Rig()
    rig.open()
    const first = rig.socket
    rig.platform.clock.advance(PROBE_MS)
    expect(first.takeSent()).toEqual([{ type: 'ack', ids: [], request: 'alive' }])
    rig.platform.clock.advance(SILENCE_MS - PROBE_MS)
    expect([first.isTerminated, rig.takeEvents()]).toEqual([true, ['trouble unavailable', 'left']])
    const second = await rig.reconnected()
    expect(second).not.toBe(first)
    first.say('"from the grave"')
    first.end(1000)
    expect([rig.takeEvents(), rig.connection.state]).toEqual([[], 'connecting'])
  })

  it('is content with pings, and with the answer to its question', () => {
    const rig = new Rig()
    rig.open()
    for (let i = 0; i < 20; i++) {
      rig.platform.clock.advance(15_000)
      rig.socket.ping()
    }
    expect(rig.socket.takeSent()).toEqual([])
    for (let i = 0; i < 20; i++) {
      rig.platform.clock.advance(PROBE_MS + 1000)
      expect(rig.socket.takeSent()).toHaveLength(1)
      rig.socket.say({ type: 'acked', request: 'alive', ids: [] })
    }
    expect(rig.connection.state).toBe('open')
  })

  it('gives up what does not open, does not close or talks nonsense', async () => {
    const rig = new Rig()
    rig.connection.start()
    const first = rig.socket
    await rig.reconnected()
    expect(first.isTerminated).toBe(true)
    rig.socket.open()
    rig.socket.say('nonsense')
    expect(rig.socket.isTerminated).toBe(true)
    await rig.reconnected()
    rig.socket.open()
    rig.takeEvents()
    rig.connection.stop()
    while (rig.platform.clock.runNext());
    expect([rig.socket.isTerminated, rig.takeEvents()]).toEqual([true, ['left', 'finished']])
  })

  it('drains over the connection that it has, and makes no other', () => {
    const rig = new Rig()
    rig.open()
    rig.connection.drain()
    expect(rig.socket.takeSent()).toEqual([{ type: 'pause' }])
    rig.socket.end(1006)
    expect(rig.takeEvents()).toEqual(['trouble unavailable', 'left', 'finished'])
    expect(rig.platform.clock.pending).toBe(0)
  })

  it('is over at once when it is drained or stopped while it has none', async () => {
    for (const verb of ['drain', 'stop'] as const) {
      const rig = new Rig()
      rig.connection[verb]()
      expect(rig.takeEvents()).toEqual(['finished'])
      const other = new Rig()
      other.open()
      other.socket.end(1006)
      other.connection[verb]()
      await settle()
      expect(other.takeEvents()).toEqual(['trouble unavailable', 'left', 'finished'])
      expect(other.platform.clock.pending).toBe(0)
    }
  })
})

describe('the token of a connection', () => {
  const jwt = (endsAtMs: number): string => `h.${btoa(JSON.stringify({ exp: endsAtMs / 1000 }))}.s`

  it('is told anew in band before it ends', async () => {
    let asked = 0
    const rig: Rig = new Rig(() => jwt(rig.platform.clock.now() + 600_000 + asked++))
    rig.connection.start()
    await settle()
    rig.socket.open()
    for (let i = 1; i <= 3; i++) {
      for (let elapsedMs = 0; elapsedMs < 541_000; elapsedMs += 1000) {
        rig.platform.clock.advance(1000)
        rig.socket.ping()
      }
      await settle()
      expect(rig.socket.takeSent()).toEqual([{ type: 'auth', token: expect.stringMatching(/^h\./) }])
      expect(asked).toBe(i + 1)
    }
    expect(rig.platform.sockets).toHaveLength(1)
  })

  it('is asked for again when it is refused, and only once', async () => {
    let asked = 0
    const rig = new Rig(() => `token-${++asked}`)
    rig.connection.start()
    await settle()
    const refusal = { kind: 'refused', status: 401, retryAfter: null, body: '{"code":"unauthenticated"}' } as const
    rig.socket.end(refusal)
    expect((await rig.reconnected()).token).toBe('token-2')
    rig.socket.end(refusal)
    expect(rig.takeEvents()).toEqual(['trouble unauthenticated', 'finished unauthenticated'])
  })

  it('that is fixed and refused is the end', () => {
    const rig = new Rig('fixed')
    rig.open()
    expect(rig.socket.token).toBe('fixed')
    rig.socket.end(4401)
    expect(rig.takeEvents()).toEqual(['left', 'finished unauthenticated'])
  })

  it('that no header can carry is refused', async () => {
    expect(() => new Rig('two\nlines')).toThrow('characters')
    const rig = new Rig(() => 'two\nlines')
    rig.connection.start()
    await settle()
    expect(rig.takeEvents()).toEqual(['finished unauthenticated'])
  })

  it('whose function fails is the end, and one that hangs is waited for', async () => {
    const failing = new Rig(() => Promise.reject(new Error('no')))
    failing.connection.start()
    await settle()
    expect(failing.takeEvents()).toEqual(['finished unauthenticated'])
    let isThere = false
    const hanging = new Rig(() => (isThere ? 'token' : new Promise<string>(() => undefined)))
    hanging.connection.start()
    hanging.platform.clock.runNext()
    await settle()
    expect(hanging.takeEvents()).toEqual(['trouble unavailable'])
    isThere = true
    expect((await hanging.reconnected()).token).toBe('token')
  })
})
