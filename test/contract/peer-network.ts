/** What every PeerNetwork must do: whole frames, in order, or the end of the link. */
import { setImmediate } from 'node:timers'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { LINK_FULL_BYTES, type LinkTaker, type PeerLink, type PeerNetwork } from '../../src/cluster/peer-network.ts'
import { type Hello, PEER_PROTOCOL } from '../../src/cluster/peer-protocol.ts'

export interface NetworkUnderTest {
  /** What a broker of this id has of the network. */
  broker(nodeId: string, hello?: Partial<Hello>): PeerNetwork
  /** Lets time pass until the condition holds; it must. */
  until(condition: () => boolean): Promise<void>
  dispose(): Promise<void>
}

/** One end of a link, and what it saw. */
export class Witness {
  link: PeerLink | null = null
  readonly frames: Buffer[] = []
  readonly endings: string[] = []
  drains = 0

  /** `greet` is called while the link is taken. */
  take(greet?: (link: PeerLink) => void): LinkTaker {
    return (link) => {
      this.link = link
      greet?.(link)
      return {
        frame: (bytes) => void this.frames.push(bytes),
        drained: () => void this.drains++,
        closed: (why) => void this.endings.push(why),
      }
    }
  }

  get texts(): string[] {
    return this.frames.map(String)
  }
}

const text = (value: string): Uint8Array => Buffer.from(value)

export function peerNetworkContract(name: string, make: () => Promise<NetworkUnderTest>): void {
  describe(name, () => {
    let network: NetworkUnderTest

    beforeEach(async () => {
      network = await make()
    })

    afterEach(() => network.dispose())

    async function joined(
      greetings: { a?: (link: PeerLink) => void; b?: (link: PeerLink) => void } = {},
    ): Promise<{ a: Witness; b: Witness; stop: () => Promise<void>; address: string }> {
      const [a, b] = [new Witness(), new Witness()]
      const listening = await network.broker('b', { brokerEpoch: 22 }).listen(b.take(greetings.b))
      await dial('a', 'b', listening.address, a.take(greetings.a))
      await network.until(() => b.link !== null)
      return { a, b, stop: () => listening.close(), address: listening.address }
    }

    async function dial(from: string, to: string, address: string, take: LinkTaker): Promise<void> {
      let isOver = false
      const dialed = network.broker(from, { brokerEpoch: 11 }).dial({ nodeId: to, address }, take)
      dialed.then(
        () => (isOver = true),
        () => (isOver = true),
      )
      await network.until(() => isOver)
      await dialed
    }

    it('tells both ends who is there, and which version they speak', async () => {
      const { a, b } = await joined()
      expect(a.link?.peer).toEqual({ nodeId: 'b', brokerEpoch: 22, ...PEER_PROTOCOL })
      expect(b.link?.peer).toEqual({ nodeId: 'a', brokerEpoch: 11, ...PEER_PROTOCOL })
      expect([a.link?.version, b.link?.version]).toEqual([PEER_PROTOCOL.newest, PEER_PROTOCOL.newest])
    })

    it('carries frames whole and in order, both ways at once', async () => {
      const { a, b } = await joined()
      const sent = Array.from({ length: 2000 }, (_, i) => `${i} ${'x'.repeat(i % 97)}`)
      for (const one of sent) {
        a.link!.send(text(one))
        b.link!.send(text(`b${one}`))
      }
      await network.until(() => a.frames.length === sent.length && b.frames.length === sent.length)
      expect(b.texts).toEqual(sent)
      expect(a.texts).toEqual(sent.map((one) => `b${one}`))
    })

    it('carries the parts of a frame as one', async () => {
      const { a, b } = await joined()
      a.link!.send(text('ab'), text(''), text('cd'), text('e'))
      await network.until(() => b.frames.length > 0)
      expect(b.texts).toEqual(['abcde'])
    })

    it('carries a frame of many megabytes', async () => {
      const { a, b } = await joined()
      const large = Buffer.alloc(9_000_001, 'abcdefg')
      a.link!.send(large)
      a.link!.send(text('after'))
      await network.until(() => b.frames.length === 2)
      expect(b.frames[0]!.equals(large)).toBe(true)
      expect(String(b.frames[1])).toBe('after')
    })

    it('gives the receiver bytes of its own', async () => {
      const { a, b } = await joined()
      const sent = Buffer.from('abc')
      a.link!.send(sent)
      a.link!.send(sent)
      await network.until(() => b.frames.length === 2)
      b.frames[0]!.fill('x')
      expect(String(sent)).toBe('abc')
      expect(b.texts).toEqual(['xxx', 'abc'])
    })

    it('carries what either end says while it takes the link', async () => {
      const { a, b } = await joined({ a: (link) => link.send(text('from a')), b: (link) => link.send(text('from b')) })
      await network.until(() => a.frames.length > 0 && b.frames.length > 0)
      expect([a.texts, b.texts]).toEqual([['from b'], ['from a']])
    })

    it('says at both ends, once and later, that a link is over', async () => {
      const { a, b } = await joined()
      b.link!.close('enough')
      expect(b.endings).toEqual([])
      await network.until(() => a.endings.length > 0 && b.endings.length > 0)
      b.link!.close('again')
      a.link!.close('again')
      a.link!.send(text('nobody hears this'))
      await turns(network)
      expect([a.endings.length, b.endings.length]).toEqual([1, 1])
      expect(b.endings[0]).toBe('enough')
      expect(b.frames).toEqual([])
    })

    it('hears nothing on a link that it has closed', async () => {
      const { a, b } = await joined()
      a.link!.close('enough')
      b.link!.send(text('too late'))
      await network.until(() => b.endings.length > 0)
      await turns(network)
      expect(a.frames).toEqual([])
    })

    it('says what waits to leave, and when there is room again', async () => {
      const { a, b } = await joined()
      expect(a.link!.buffered).toBe(0)
      const part = Buffer.alloc(1_000_000)
      let count = 0
      while (a.link!.buffered <= LINK_FULL_BYTES && count < 1000) {
        a.link!.send(part)
        count += 1
      }
      expect(a.link!.buffered).toBeGreaterThan(LINK_FULL_BYTES)
      await network.until(() => b.frames.length === count && a.link!.buffered === 0)
      expect(a.drains).toBe(1)
      a.link!.send(text('small'))
      await network.until(() => b.frames.length === count + 1)
      expect(a.drains).toBe(1)
    })

    it('tells two links between the same brokers apart', async () => {
      const { a, b, address } = await joined()
      const [first, second] = [b.link!, new Witness()]
      await dial('a', 'b', address, second.take())
      await network.until(() => b.link !== first)
      first.close('the first')
      await network.until(() => a.endings.length > 0)
      second.link!.send(text('still here'))
      await network.until(() => b.frames.length > 0)
      expect([b.texts, second.endings]).toEqual([['still here'], []])
    })

    it('is refused where nobody listens any more, and ends the links that were taken', async () => {
      const { a, stop, address } = await joined()
      await stop()
      await network.until(() => a.endings.length > 0)
      await expect(dial('a', 'b', address, new Witness().take())).rejects.toMatchObject({ code: 'unavailable' })
    })

    it('is refused where another broker than expected is', async () => {
      const { address } = await joined()
      const witness = new Witness()
      await expect(dial('a', 'c', address, witness.take())).rejects.toMatchObject({ code: 'unavailable' })
      expect(witness.link).toBeNull()
    })

    it('is refused by a broker that speaks none of its versions', async () => {
      const [later, witness] = [new Witness(), new Witness()]
      const listening = await network.broker('b', { oldest: 8, newest: 9 }).listen(later.take())
      await expect(dial('a', 'b', listening.address, witness.take())).rejects.toMatchObject({ code: 'unavailable' })
      expect([later.link, witness.link]).toEqual([null, null])
    })
  })
}

/** What was on its way has had the time to arrive. */
async function turns(network: NetworkUnderTest): Promise<void> {
  let count = 0
  await network.until(() => ++count > 50)
  await new Promise<void>((resolve) => void setImmediate(resolve))
}
