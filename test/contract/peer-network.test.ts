/** The PeerNetwork contract against the simulated network, and what only that one has. */
import { beforeEach, describe, expect, it } from 'vitest'
import type { PeerNetwork } from '../../src/cluster/peer-network.ts'
import { PEER_PROTOCOL } from '../../src/cluster/peer-protocol.ts'
import { SimClock } from '../../src/testing/sim-clock.ts'
import { type SimBroker, SimNetwork } from '../../src/testing/sim-network.ts'
import { SimRandom } from '../../src/testing/sim-random.ts'
import { settle } from '../support/settle.ts'
import { peerNetworkContract, Witness } from './peer-network.ts'

async function untilOn(clock: SimClock, condition: () => boolean): Promise<void> {
  for (let step = 0; step < 100_000; step++) {
    await settle()
    if (condition()) return
    if (!clock.runNext()) clock.advance(1)
  }
  throw new Error('it did not happen')
}

peerNetworkContract('simulated peer network', () => {
  const clock = new SimClock({ soon: 'driven' })
  const network = new SimNetwork({ clock, random: new SimRandom('contract') })
  return Promise.resolve({
    broker: (nodeId, hello): PeerNetwork =>
      network.join(() => ({ nodeId, brokerEpoch: 1, ...PEER_PROTOCOL, ...hello })),
    until: (condition) => untilOn(clock, condition),
    dispose: () => Promise.resolve(),
  })
})

describe('simulated peer network under faults', () => {
  let clock: SimClock
  let network: SimNetwork
  let brokers: { a: SimBroker; b: SimBroker }
  let a: Witness
  let b: Witness

  beforeEach(async () => {
    clock = new SimClock({ soon: 'driven' })
    network = new SimNetwork({ clock, random: new SimRandom('faults'), latencyMs: [1, 2] })
    const join = (nodeId: string): SimBroker => network.join(() => ({ nodeId, brokerEpoch: 1, ...PEER_PROTOCOL }))
    brokers = { a: join('a'), b: join('b') }
    a = new Witness()
    b = new Witness()
    await brokers.b.listen(b.take())
    await dial()
    await untilOn(clock, () => b.link !== null)
  })

  async function dial(): Promise<void> {
    let isOver = false
    const dialed = brokers.a.dial({ nodeId: 'b', address: 'sim:b' }, a.take()).finally(() => {
      isOver = true
    })
    dialed.catch(() => undefined)
    await untilOn(clock, () => isOver)
    await dialed
  }

  async function pass(ms: number): Promise<void> {
    clock.advance(ms)
    await settle()
  }

  it('lets frames over a cut wait, and the other way pass', async () => {
    const heal = network.cut('a', 'b')
    a.link!.send(Buffer.from('one'))
    a.link!.send(Buffer.from('two'))
    b.link!.send(Buffer.from('back'))
    await pass(1000)
    expect([a.texts, b.texts]).toEqual([['back'], []])
    heal()
    await pass(1000)
    expect(b.texts).toEqual(['one', 'two'])
    await pass(100_000)
    expect([a.endings, b.endings]).toEqual([[], []])
  })

  it('breaks a link that is cut for too long, first at the end that hears nothing', async () => {
    network.cut('a', 'b')
    await pass(2999)
    expect([a.endings, b.endings]).toEqual([[], []])
    await pass(1)
    expect([a.endings.length, b.endings.length]).toEqual([0, 1])
    await pass(10)
    expect(a.endings.length).toBe(1)
  })

  it('breaks both ends of a link that is cut both ways', async () => {
    network.cut('a', 'b')
    network.cut('b', 'a')
    await pass(3001)
    expect([a.endings.length, b.endings.length]).toEqual([1, 1])
    await expect(dial()).rejects.toMatchObject({ code: 'unavailable' })
  })

  it('tells an end that could not hear it later that the link was closed', async () => {
    const heal = network.cut('a', 'b')
    a.link!.close('enough')
    await pass(1000)
    expect(b.endings).toEqual([])
    heal()
    await pass(10)
    expect(b.endings).toEqual(['enough'])
  })

  it('loses a last part of what was sent when a link breaks', async () => {
    for (let i = 0; i < 50; i++) a.link!.send(Buffer.from(String(i)))
    network.breakLinks('a', 'b')
    await pass(100)
    expect(b.texts).toEqual(Array.from({ length: b.texts.length }, (_, i) => String(i)))
    expect(b.texts.length).toBeLessThan(50)
    expect([a.endings.length, b.endings.length]).toEqual([1, 1])
    await dial()
    expect(a.link).not.toBeNull()
  })

  it('gives a broker that stood still what came meanwhile', async () => {
    const resume = network.pause('b')
    a.link!.send(Buffer.from('wait'))
    await pass(2000)
    expect(b.texts).toEqual([])
    resume()
    await pass(10)
    expect(b.texts).toEqual(['wait'])
  })

  it('tells the others at once of a process that ended, and late of a machine that is gone', async () => {
    brokers.b.leave('closed')
    await pass(10)
    expect([a.endings.length, b.endings.length]).toEqual([1, 0])
    brokers.b = network.join(() => ({ nodeId: 'b', brokerEpoch: 2, ...PEER_PROTOCOL }))
    await brokers.b.listen(b.take())
    await dial()
    brokers.b.leave('silent')
    await pass(2900)
    expect(a.endings.length).toBe(1)
    await pass(200)
    expect(a.endings.length).toBe(2)
    expect(b.endings).toEqual([])
  })

  it('does the same again for the same seed', async () => {
    const traces = await Promise.all(
      ['x', 'x', 'y'].map(async (seed) => {
        const time = new SimClock({ soon: 'driven' })
        const other = new SimNetwork({ clock: time, random: new SimRandom(seed) })
        const trace: string[] = []
        const take = (who: string) => () => ({
          frame: (bytes: Buffer) => void trace.push(`${time.monotonic()} ${who} ${String(bytes)}`),
          drained: () => undefined,
          closed: () => undefined,
        })
        const hello = (nodeId: string) => () => ({ nodeId, brokerEpoch: 1, ...PEER_PROTOCOL })
        await other.join(hello('b')).listen(take('b'))
        void other.join(hello('a')).dial({ nodeId: 'b', address: 'sim:b' }, (link) => {
          for (let i = 0; i < 5; i++) link.send(Buffer.from(String(i)))
          return take('a')()
        })
        await untilOn(time, () => trace.length === 5)
        return trace.join('\n')
      }),
    )
    expect(traces[1]).toBe(traces[0])
    expect(traces[2]).not.toBe(traces[0])
  })
})
