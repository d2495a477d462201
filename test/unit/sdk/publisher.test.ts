import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Connector } from '../../../sdk/src/connector.ts'
import type { Token } from '../../../sdk/src/credentials.ts'
import type { PublishOptions } from '../../../sdk/src/publish-entry.ts'
import type { PublishError } from '../../../sdk/src/publish-error.ts'
import { Publisher, type PublisherOptions } from '../../../sdk/src/publisher.ts'
import { settle } from '../../support/settle.ts'
import { SimPlatform, type SimRequest } from '../../support/sim-platform.ts'

const OPTIONS: PublisherOptions = {
  timeoutMs: 10_000,
  requestTimeoutMs: 1000,
  bufferBytes: 10_000,
  waitingCount: 100,
  batchCount: 100,
  batchBytes: 100_000,
}

class Rig {
  readonly platform: SimPlatform
  readonly publisher: Publisher
  readonly outcomes: Record<string, unknown> = {}

  constructor(options: Partial<PublisherOptions> = {}, token?: Token, url: string | string[] = 'http://a') {
    this.platform = new SimPlatform()
    this.publisher = new Publisher('t', new Connector(this.platform, url, token), { ...OPTIONS, ...options })
  }

  publish(value: unknown, options: PublishOptions = {}, name = String(value)): void {
    this.#note(name, this.publisher.publish(value, options))
  }

  tryPublish(value: unknown): void {
    this.#note(String(value), this.publisher.tryPublish(value, {}))
  }

  #note(name: string, promise: Promise<{ id: string }>): void {
    promise.then(
      ({ id }) => {
        this.outcomes[name] = id
      },
      (error: PublishError) => {
        this.outcomes[name] = error.outcome ? `${error.code} ${error.outcome}` : error.code
      },
    )
  }

  async request(): Promise<SimRequest> {
    await settle()
    return this.platform.request()
  }

  /** Time goes on to the next timer, and what follows from it happens. */
  async next(): Promise<void> {
    this.platform.clock.runNext()
    await settle()
  }
}

function store(request: SimRequest, from = 0): void {
  const receipts = request.entries.map((_, i) => ({ partition: 0, offset: from + i, id: `0:${from + i}` }))
  request.answer(200, { receipts })
}

const values = (request: SimRequest): unknown[] => request.entries.map(({ value }) => value)

describe('a publisher', () => {
  it('sends what is published in one breath as one batch, and what comes meanwhile as the next', async () => {
    const rig = new Rig()
    rig.publish(1)
    rig.publish(2)
    const first = await rig.request()
    expect([first.path, values(first)]).toEqual(['/v1/topics/t/messages/batch', [1, 2]])
    rig.publish(3)
    rig.publish(4)
    await settle()
    expect(rig.platform.requests).toEqual([])
    store(first)
    const second = await rig.request()
    expect(values(second)).toEqual([3, 4])
    store(second, 2)
    await settle()
    expect(rig.outcomes).toEqual({ 1: '0:0', 2: '0:1', 3: '0:2', 4: '0:3' })
    expect(rig.platform.clock.pending).toBe(0)
  })

  it('gives every publish a key of its own and repeats it with the same', async () => {
    const rig = new Rig()
    rig.publish(1)
    rig.publish(2, { idempotencyKey: 'mine' })
    const first = await rig.request()
    const keys = first.entries.map(({ idempotencyKey }) => idempotencyKey)
    expect(keys).toEqual([expect.stringMatching(/^[\w-]{21}-0$/), 'mine'])
    first.lose(true)
    await rig.next()
    const second = await rig.request()
    expect(second.entries).toEqual(first.entries)
  })

  it('waits as long as the broker asks, and goes to another one', async () => {
    const rig = new Rig({}, undefined, ['http://a', 'http://b'])
    const { clock } = rig.platform
    rig.publish(1)
    const first = await rig.request()
    const refusedAt = clock.monotonic()
    first.refuse(503, 'overloaded', '2')
    await settle()
    while (rig.platform.requests.length === 0) await rig.next()
    expect(clock.monotonic() - refusedAt).toBeGreaterThanOrEqual(2000)
    expect(clock.monotonic() - refusedAt).toBeLessThan(2060)
    const second = await rig.request()
    expect([first.request.url, second.request.url].map((url) => new URL(url).host)).toEqual(['a', 'b'])
  })

  it('waits for room when the buffer is full, and lets in as many as there is room for', async () => {
    const rig = new Rig({ bufferBytes: 200 })
    for (let i = 0; i < 8; i++) rig.publish('x'.repeat(100), {}, String(i))
    rig.tryPublish('no')
    const first = await rig.request()
    expect(first.entries.length).toBeLessThan(3)
    expect(rig.outcomes).toEqual({ no: 'overloaded' })
    let stored = 0
    for (let request: SimRequest | undefined = first; request; request = rig.platform.requests.shift()) {
      store(request, stored)
      stored += request.entries.length
      await settle()
    }
    expect(rig.outcomes).toEqual({
      no: 'overloaded',
      ...Object.fromEntries(Array.from({ length: 8 }, (_, i) => [i, `0:${i}`])),
    })
  })

  it('refuses at once when too many wait for room, and fails in time what found none', async () => {
    const rig = new Rig({ bufferBytes: 50, waitingCount: 1 })
    rig.publish('x'.repeat(100), {}, 'flying')
    rig.publish(2, { timeoutMs: 500 })
    rig.publish(3)
    const first = await rig.request()
    await rig.next()
    expect(rig.outcomes).toEqual({ 2: 'overloaded not_stored', 3: 'overloaded' })
    store(first)
    await settle()
    expect(rig.outcomes).toMatchObject({ flying: '0:0' })
  })

  it('checks an entry before it is sent, so that its neighbours do not suffer', async () => {
    const rig = new Rig()
    rig.publish(1n)
    rig.publish(undefined, {}, 'nothing')
    rig.publish('long', { key: 'k'.repeat(2000) })
    rig.publish('good')
    const request = await rig.request()
    expect(values(request)).toEqual(['good'])
    expect(rig.outcomes).toEqual({ 1: 'invalid_argument', nothing: 'invalid_argument', long: 'invalid_argument' })
  })

  it('stores the neighbours of an entry that the broker refuses', async () => {
    const rig = new Rig()
    for (let i = 0; i < 9; i++) rig.publish(i)
    const stored: unknown[] = []
    await settle()
    for (let request = rig.platform.requests.shift(); request; request = rig.platform.requests.shift()) {
      if (values(request).includes(5)) request.refuse(422, 'schema_violation')
      else {
        stored.push(...values(request))
        store(request)
      }
      await settle()
    }
    expect(stored).toEqual([0, 1, 2, 3, 4, 6, 7, 8])
    expect(rig.outcomes['5']).toBe('schema_violation not_stored')
  })

  it('takes back what is not sent, and says what may be stored', async () => {
    const rig = new Rig()
    const aborter = new AbortController()
    const { signal } = aborter
    rig.publish('flying', { signal })
    const first = await rig.request()
    rig.publish('queued', { signal })
    aborter.abort()
    rig.publish('late', { signal })
    await settle()
    expect(rig.outcomes).toEqual({
      flying: 'outcome_unknown unknown',
      queued: 'aborted not_stored',
      late: 'aborted',
    })
    first.lose(true)
    await rig.next()
    expect(rig.platform.requests).toEqual([])
    expect(rig.platform.clock.pending).toBe(0)
  })

  it('fails in time what nobody took', async () => {
    const rig = new Rig()
    rig.publish(1)
    for (let tries = 0; rig.outcomes['1'] === undefined; tries++) {
      expect(tries).toBeLessThan(200)
      await settle()
      rig.platform.requests.shift()?.lose(false)
      await rig.next()
    }
    expect(rig.outcomes).toEqual({ 1: 'unavailable not_stored' })
  })

  it('keeps 10,000 publishes for the minute in which nobody is there, and stores each once and in order', async () => {
    const rig = new Rig({ timeoutMs: 120_000, bufferBytes: 64 * 1_048_576, batchCount: 3000, batchBytes: 1_048_576 })
    const { clock } = rig.platform
    const backAt = clock.monotonic() + 60_000
    for (let i = 0; i < 10_000; i++) rig.publish(i)
    await settle()
    let requests = 0
    while (clock.monotonic() < backAt) {
      rig.platform.requests.shift()?.lose(requests++ % 2 === 0)
      await rig.next()
    }
    expect(requests).toBeGreaterThan(20)
    const log: unknown[] = []
    for (let request = rig.platform.requests.shift(); request; request = rig.platform.requests.shift()) {
      store(request, log.length)
      log.push(...values(request))
      await settle()
    }
    expect(log).toEqual(Array.from({ length: 10_000 }, (_, i) => i))
    expect(rig.outcomes).toEqual(Object.fromEntries(log.map((i) => [i, `0:${String(i)}`])))
    expect(clock.pending).toBe(0)
  })

  it('asks for another token when one is refused, once', async () => {
    let asked = 0
    const rig = new Rig({}, () => `token-${++asked}`)
    rig.publish(1)
    const first = await rig.request()
    first.refuse(401, 'unauthenticated')
    const second = await rig.request()
    second.refuse(401, 'unauthenticated')
    await settle()
    expect([first, second].map(({ request }) => request.headers['authorization'])).toEqual([
      'Bearer token-1',
      'Bearer token-2',
    ])
    expect(rig.outcomes).toEqual({ 1: 'unauthenticated not_stored' })
    rig.publish(2)
    expect((await rig.request()).request.headers['authorization']).toBe('Bearer token-3')
  })

  it('tries again later when no token comes', async () => {
    let isThere = false
    const rig = new Rig({}, () => (isThere ? 'token' : new Promise<string>(() => undefined)))
    rig.publish(1, { timeoutMs: 60_000 })
    await settle()
    await rig.next()
    isThere = true
    await rig.next()
    store(await rig.request())
    await settle()
    expect(rig.outcomes).toEqual({ 1: '0:0' })
  })

  it('settles everything when it is closed', async () => {
    const rig = new Rig({ bufferBytes: 100 })
    rig.publish('x'.repeat(90), {}, 'flying')
    rig.publish('waiting')
    await settle()
    rig.publisher.close()
    rig.publish('after')
    await settle()
    expect(rig.outcomes).toEqual({
      flying: 'outcome_unknown unknown',
      waiting: 'aborted not_stored',
      after: 'aborted',
    })
    expect(rig.platform.clock.pending).toBe(0)
  })

  it('flushes: waits for what was published until then', async () => {
    const rig = new Rig()
    let isFlushed = false
    rig.publish(1)
    void rig.publisher.flush().then(() => (isFlushed = true))
    const first = await rig.request()
    expect(isFlushed).toBe(false)
    store(first)
    await settle()
    expect(isFlushed).toBe(true)
  })

  it('loses, doubles and reorders nothing, and says the truth, whatever the network and the broker do', async () => {
    const act = fc.constantFrom('store', 'storeAndLose', 'lose', 'unsent', 'overloaded', 'garbage', 'wait', 'publish')
    await fc.assert(
      fc.asyncProperty(fc.array(act, { maxLength: 60 }), fc.integer({ min: 0, max: 30 }), async (acts, poison) => {
        const rig = new Rig({ timeoutMs: 1e9, bufferBytes: 600, batchCount: 5 })
        const log: unknown[] = []
        const known = new Map<string, number>()
        let published = 0
        const write = (request: SimRequest): unknown => {
          const receipts = request.entries.map(({ idempotencyKey, value }) => {
            const offset = known.get(idempotencyKey as string) ?? log.push(value) - 1
            known.set(idempotencyKey as string, offset)
            return { partition: 0, offset, id: `0:${offset}` }
          })
          return { receipts }
        }
        const answer = (request: SimRequest, how: string): void => {
          if (values(request).includes(poison)) return request.refuse(400, 'invalid_argument')
          if (how === 'store') return request.answer(200, write(request))
          if (how === 'storeAndLose') write(request)
          if (how === 'overloaded') request.refuse(503, 'overloaded', '1')
          else if (how === 'garbage') request.answer(200, '<html>')
          else request.lose(how !== 'unsent')
        }
        for (const how of acts) {
          if (how === 'publish') for (let i = 0; i < 3; i++) rig.publish(published++)
          else if (how === 'wait') rig.platform.clock.advance(2000)
          else {
            const request = rig.platform.requests.shift()
            if (request) answer(request, how)
          }
          await settle()
        }
        for (let i = 0; i < 500 && Object.keys(rig.outcomes).length < published; i++) {
          const request = rig.platform.requests.shift()
          if (request) answer(request, 'store')
          else rig.platform.clock.advance(10_000)
          await settle()
        }
        const expected = Array.from({ length: published }, (_, i) => i).filter((i) => i !== poison)
        expect(log).toEqual(expected)
        expect(rig.outcomes).toEqual({
          ...Object.fromEntries(expected.map((value, offset) => [value, `0:${offset}`])),
          ...(poison < published ? { [poison]: expect.stringMatching(/^invalid_argument/) as unknown } : {}),
        })
        expect(rig.platform.clock.pending).toBe(0)
      }),
      { numRuns: 150 },
    )
  })
})
