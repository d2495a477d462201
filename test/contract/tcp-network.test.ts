/** The PeerNetwork contract over TCP, without and with TLS, and what strangers and silence do to it. */
import net from 'node:net'
import { setImmediate } from 'node:timers'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { nullLogger } from '../../src/base/telemetry.ts'
import type { Listening } from '../../src/cluster/peer-network.ts'
import { encodeHello, type Hello, PEER_PROTOCOL } from '../../src/cluster/peer-protocol.ts'
import { type PeerCertificates, TcpNetwork, type TcpNetworkOptions } from '../../src/cluster/tcp-network.ts'
import { SimClock } from '../../src/testing/sim-clock.ts'
import { NotingLogger } from '../support/noting-logger.ts'
import { peerCertificates } from '../support/peer-certificates.ts'
import { type NetworkUnderTest, peerNetworkContract, Witness } from './peer-network.ts'

let certificates: Map<string, PeerCertificates>
let strangers: Map<string, PeerCertificates>

beforeAll(async () => {
  certificates = await peerCertificates(['a', 'b', 'c'])
  strangers = await peerCertificates(['a'])
}, 300_000)

function tcp(nodeId: string, patch: Partial<TcpNetworkOptions> = {}, hello: Partial<Hello> = {}): TcpNetwork {
  return new TcpNetwork({
    host: '127.0.0.1',
    port: 0,
    hello: () => ({ nodeId, brokerEpoch: 1, ...PEER_PROTOCOL, ...hello }),
    clock: systemClock,
    logger: nullLogger,
    certificates: () => null,
    ...patch,
  })
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise<void>((resolve) => void setImmediate(resolve))
}

/** All that a test has listening ends with it. */
class Rig implements NetworkUnderTest {
  readonly listening: Listening[] = []
  readonly #withTls: boolean

  constructor(withTls: boolean) {
    this.#withTls = withTls
  }

  broker(nodeId: string, hello: Partial<Hello> = {}) {
    const network = tcp(
      nodeId,
      { certificates: () => (this.#withTls ? certificates.get(nodeId)! : null) },
      { brokerEpoch: 1, ...hello },
    )
    return {
      dial: network.dial.bind(network),
      listen: async (take: Parameters<typeof network.listen>[0]): Promise<Listening> => {
        const listening = await network.listen(take)
        this.listening.push(listening)
        return listening
      },
    }
  }

  until = until

  async dispose(): Promise<void> {
    for (const one of this.listening) await one.close()
  }
}

peerNetworkContract('peer network over TCP', () => Promise.resolve(new Rig(false)))
peerNetworkContract('peer network over TLS', () => Promise.resolve(new Rig(true)))

describe('peer network over TCP among strangers', () => {
  let listening: Listening
  let b: Witness
  let clock: SimClock

  beforeEach(async () => {
    b = new Witness()
    clock = new SimClock()
    listening = await tcp('b', { clock }).listen(b.take())
  })

  afterEach(() => listening.close())

  /** What a stranger got before it was put out. */
  function says(bytes: Uint8Array): Promise<Buffer> {
    return new Promise((resolve) => {
      const socket = net.connect(Number(listening.address.split(':')[1]), '127.0.0.1')
      const got: Buffer[] = []
      socket.on('data', (chunk) => void got.push(chunk))
      socket.on('error', () => undefined)
      socket.on('close', () => resolve(Buffer.concat(got)))
      socket.write(bytes)
    })
  }

  function framed(...frames: Uint8Array[]): Buffer {
    return Buffer.concat(
      frames.flatMap((frame) => {
        const head = Buffer.alloc(4)
        head.writeUInt32BE(frame.length)
        return [head, frame]
      }),
    )
  }

  it('puts out whoever is no broker, at its first bytes', async () => {
    for (const bytes of [
      Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'),
      framed(Buffer.from('hello')),
      framed(Buffer.alloc(1024)),
      Buffer.from('ffffffff', 'hex'),
    ]) {
      await says(bytes)
    }
    expect(b.link).toBeNull()
  })

  it('puts out whoever says nothing in time', async () => {
    const ended = says(Buffer.alloc(0))
    await turns()
    clock.advance(3000)
    await ended
    expect(b.link).toBeNull()
  })

  it('ends a link whose other end claims a frame that is too long', async () => {
    const hello = encodeHello({ nodeId: 'a', brokerEpoch: 1, ...PEER_PROTOCOL })
    const ended = says(Buffer.concat([framed(hello), Buffer.from('7fffffff', 'hex')]))
    await until(() => b.endings.length > 0)
    expect(b.endings).toEqual([expect.stringContaining('are allowed')])
    await ended
  })

  it('says that it is there while there is nothing to say, and ends a link on which nothing is heard', async () => {
    const hello = encodeHello({ nodeId: 'a', brokerEpoch: 1, ...PEER_PROTOCOL })
    const ended = says(framed(hello))
    await until(() => b.link !== null)
    for (let second = 0; second < 3; second++) {
      clock.advance(1000)
      await turns()
    }
    await until(() => b.endings.length > 0)
    expect(b.endings).toEqual(['nothing was heard for too long'])
    const got = await ended
    expect(got.subarray(4 + hello.length)).toEqual(Buffer.alloc(8))
  })

  it('keeps a link on which both ends only say that they are there', async () => {
    const a = new Witness()
    await tcp('a', { clock }).dial({ nodeId: 'b', address: listening.address }, a.take())
    for (let second = 0; second < 20; second++) {
      clock.advance(1000)
      await turns()
    }
    expect([a.endings, b.endings]).toEqual([[], []])
    expect(a.frames).toEqual([])
    a.link!.close('enough')
    await until(() => b.endings.length > 0)
  })

  it('is refused, with the address, where nothing answers', async () => {
    const address = listening.address
    await listening.close()
    await expect(tcp('a').dial({ nodeId: 'b', address }, b.take())).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining(address) as string,
    })
  })

  /** What was on its way over loopback has arrived. */
  async function turns(): Promise<void> {
    for (let turn = 0; turn < 200; turn++) await new Promise<void>((resolve) => void setImmediate(resolve))
  }
})

describe('peer network over TLS among strangers', () => {
  let listening: Listening
  let b: Witness

  beforeEach(async () => {
    b = new Witness()
    listening = await tcp('b', { certificates: () => certificates.get('b')! }).listen(b.take())
  })

  afterEach(() => listening.close())

  async function refused(network: TcpNetwork, nodeId = 'b'): Promise<void> {
    const a = new Witness()
    const dialed = network.dial({ nodeId, address: listening.address }, a.take())
    await dialed.then(
      () => until(() => a.endings.length > 0),
      (error: unknown) => expect(error).toMatchObject({ code: 'unavailable' }),
    )
    expect(b.link).toBeNull()
  }

  it('takes no broker with a certificate of another authority, and dials none', async () => {
    await refused(tcp('a', { certificates: () => strangers.get('a')! }))
  })

  it('takes no broker under another name than its certificate has', async () => {
    await refused(tcp('c', { certificates: () => certificates.get('a')! }))
  })

  it('takes nobody without TLS', async () => {
    await refused(tcp('a'))
  })

  it('dials no broker whose certificate is for another', async () => {
    await listening.close()
    listening = await tcp('b', { certificates: () => certificates.get('c')! }).listen(new Witness().take())
    await refused(tcp('a', { certificates: () => certificates.get('a')! }))
  })

  it('uses a certificate that was renewed, without a restart', async () => {
    await listening.close()
    let current = certificates.get('c')!
    listening = await tcp('b', { certificates: () => current }).listen(new Witness().take())
    await refused(tcp('a', { certificates: () => certificates.get('a')! }))
    current = certificates.get('b')!
    await tcp('a', { certificates: () => certificates.get('a')! }).dial(
      { nodeId: 'b', address: listening.address },
      new Witness().take(),
    )
  })

  it('goes on while its certificates cannot be read, and takes others when they can again', async () => {
    await listening.close()
    let current: PeerCertificates | null = certificates.get('b')!
    const read = (): PeerCertificates => {
      if (!current) throw new Error('ENOENT: no such file')
      return current
    }
    const logger = new NotingLogger()
    listening = await tcp('b', { certificates: read, logger }).listen(b.take())
    current = null
    await refused(tcp('a', { certificates: () => certificates.get('a')! }))
    expect(logger.count(/^warn the certificates/)).toBe(1)
    current = certificates.get('b')!
    const a = tcp('a', { certificates: () => certificates.get('a')! })
    await a.dial({ nodeId: 'b', address: listening.address }, new Witness().take())
    await until(() => b.link !== null)
  })
})
