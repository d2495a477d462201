import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Place, type PlacedTopic, place } from '../../../src/cluster/placement.ts'
import { type BalancedTopic, rebalance } from '../../../src/cluster/rebalance.ts'

const placesOf = (count: number, racks = 0): Place[] =>
  Array.from({ length: count }, (_, i) => ({ nodeId: `n-${i}`, rack: racks === 0 ? null : `r-${i % racks}` }))

/** So many topics, placed one after the other. */
function placed(count: number, factor: number, places: readonly Place[]): BalancedTopic[] {
  const topics: BalancedTopic[] = []
  for (let i = 0; i < count; i++) {
    const topicId = `topic-${i}`
    topics.push({ topicId, replicas: place(topicId, factor, places, topics), replicationFactor: factor, like: null })
  }
  return topics
}

function loads(topics: Iterable<PlacedTopic>, places: readonly Place[]): { copies: number[]; leaders: number[] } {
  const all = [...topics]
  return {
    copies: places.map(({ nodeId }) => all.filter(({ replicas }) => replicas.includes(nodeId)).length),
    leaders: places.map(({ nodeId }) => all.filter(({ replicas }) => replicas[0] === nodeId).length),
  }
}

const after = (topics: readonly BalancedTopic[], places: readonly Place[]): BalancedTopic[] => {
  const moves = rebalance(topics, places)
  return topics.map((topic) => ({ ...topic, replicas: moves.get(topic.topicId) ?? topic.replicas }))
}

/** Copies that have to be made anew. */
const copied = (before: readonly PlacedTopic[], now: readonly PlacedTopic[]): number =>
  now.reduce((sum, { replicas }, i) => sum + replicas.filter((node) => !before[i]!.replicas.includes(node)).length, 0)

/** The most copies of the topic that fail together. */
function worstRack({ replicas }: PlacedTopic, places: readonly Place[]): number {
  const racks = replicas.map((node) => places.find(({ nodeId }) => nodeId === node)!.rack ?? node)
  return Math.max(...racks.map((rack) => racks.filter((other) => other === rack).length))
}

const clusters = fc.record({
  brokers: fc.integer({ min: 1, max: 9 }),
  topics: fc.integer({ min: 0, max: 40 }),
  factor: fc.integer({ min: 1, max: 5 }),
  racks: fc.integer({ min: 0, max: 4 }),
})

describe('the placement of a topic', () => {
  it('takes as many brokers as there are to be copies, each once, whatever order they are listed in', () => {
    fc.assert(
      fc.property(clusters, fc.nat(), ({ brokers, topics, factor, racks }, turn) => {
        fc.pre(factor <= brokers)
        const places = placesOf(brokers, racks)
        const all = placed(topics, factor, places)
        const replicas = place('one-more', factor, places, all)
        expect(new Set(replicas).size).toBe(factor)
        const turned = [...places.slice(turn % brokers), ...places.slice(0, turn % brokers)]
        expect(place('one-more', factor, turned, [...all].reverse())).toEqual(replicas)
      }),
      { numRuns: 60 },
    )
  })

  it('spreads racks first: with as many racks as copies no two copies fail together', () => {
    fc.assert(
      fc.property(clusters, ({ brokers, topics, factor, racks }) => {
        fc.pre(factor <= Math.min(racks, brokers))
        const places = placesOf(brokers, racks)
        for (const topic of placed(topics, factor, places)) expect(worstRack(topic, places)).toBe(1)
      }),
    )
  })

  it('gives no broker more than a quarter above the average, of copies and of leaders', () => {
    for (const [brokers, factor] of [
      [3, 3],
      [5, 3],
      [10, 3],
      [7, 1],
    ] as const) {
      const places = placesOf(brokers)
      const { copies, leaders } = loads(placed(300, factor, places), places)
      expect(Math.max(...copies)).toBeLessThanOrEqual(Math.ceil((1.25 * 300 * factor) / brokers) + 1)
      expect(Math.max(...leaders)).toBeLessThanOrEqual(Math.ceil((1.25 * 300) / brokers) + 1)
      expect(Math.min(...leaders)).toBeGreaterThan(0)
    }
  })

  it('is the hash where loads allow it: most topics get the same brokers in a cluster with one more', () => {
    const [few, more] = [placesOf(10), placesOf(11)]
    let same = 0
    for (let i = 0; i < 500; i++) {
      const before = place(`topic-${i}`, 3, few, [])
      const now = place(`topic-${i}`, 3, more, [])
      same += now.filter((node) => before.includes(node)).length
    }
    // Of the copies one in eleven goes to the new broker.
    expect(same / 1500).toBeGreaterThan(1 - 1.3 / 11)
  })

  it('is refused with fewer brokers than copies', () => {
    expect(() => place('t', 3, placesOf(2), [])).toThrow(expect.objectContaining({ code: 'not_enough_replicas' }))
  })
})

describe('a rebalance', () => {
  it('leaves alone what is balanced, and is done in one go', () => {
    fc.assert(
      fc.property(clusters, ({ brokers, topics, factor, racks }) => {
        fc.pre(factor <= brokers)
        const places = placesOf(brokers, racks)
        const balanced = after(placed(topics, factor, places), places)
        expect(rebalance(balanced, places).size).toBe(0)
      }),
      { numRuns: 60 },
    )
  })

  it('moves to a new broker what is above the average elsewhere, about one in n, and nothing else', () => {
    fc.assert(
      fc.property(clusters, ({ brokers, topics, factor }) => {
        fc.pre(factor <= brokers)
        const before = after(placed(topics, factor, placesOf(brokers)), placesOf(brokers))
        const places = placesOf(brokers + 1)
        const now = after(before, places)
        const max = Math.ceil((topics * factor) / (brokers + 1))
        const needed = loads(before, places).copies.reduce((sum, copies) => sum + Math.max(0, copies - max), 0)
        expect(copied(before, now)).toBe(needed)
        // But for rounding, that is the new broker's share.
        expect(copied(before, now)).toBeLessThanOrEqual((topics * factor) / (brokers + 1) + brokers)
        const spread = loads(now, places).copies
        expect(Math.max(...spread)).toBeLessThanOrEqual(max)
      }),
      { numRuns: 60 },
    )
  })

  it('copies anew what was on a broker that is gone, and for the level at most one a broker more', () => {
    fc.assert(
      fc.property(clusters, fc.nat(), ({ brokers, topics, factor }, which) => {
        fc.pre(factor < brokers)
        const all = placesOf(brokers)
        const before = after(placed(topics, factor, all), all)
        const places = all.filter((_, i) => i !== which % brokers)
        const now = after(before, places)
        const lost = loads(before, all).copies[which % brokers]!
        expect(copied(before, now)).toBeGreaterThanOrEqual(lost)
        expect(copied(before, now)).toBeLessThanOrEqual(lost + places.length)
        for (const { replicas } of now) expect(new Set(replicas).size).toBe(factor)
        expect(Math.max(...loads(now, places).copies)).toBeLessThanOrEqual(Math.ceil((topics * factor) / places.length))
      }),
      { numRuns: 60 },
    )
  })

  it('prefers as leaders about the same number on every broker', () => {
    fc.assert(
      fc.property(clusters, ({ brokers, topics, factor }) => {
        fc.pre(factor <= brokers && factor >= 2)
        const places = placesOf(brokers)
        const now = after(placed(topics, factor, places), places)
        expect(Math.max(...loads(now, places).leaders)).toBeLessThanOrEqual(Math.ceil(topics / brokers))
      }),
      { numRuns: 60 },
    )
  })

  it('gives the same answer whatever order topics and brokers are listed in', () => {
    fc.assert(
      fc.property(clusters, fc.nat(), ({ brokers, topics, factor, racks }, turn) => {
        fc.pre(factor <= brokers)
        const all = placed(topics, factor, placesOf(brokers, racks))
        const places = placesOf(brokers + 2, racks)
        const turned = [...places.slice(turn % places.length), ...places.slice(0, turn % places.length)]
        expect(rebalance([...all].reverse(), turned)).toEqual(rebalance(all, places))
      }),
      { numRuns: 40 },
    )
  })

  it('ends that copies fail together when a rack is added, and never makes them', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 30 }), fc.integer({ min: 2, max: 6 }), (topics, each) => {
        const two = placesOf(each * 2, 2)
        const before = placed(topics, 3, two)
        const three = [...two, ...Array.from({ length: each }, (_, i) => ({ nodeId: `m-${i}`, rack: 'r-2' }))]
        const now = after(before, three)
        for (const topic of now) expect(worstRack(topic, three)).toBe(1)
        // One copy of each topic is enough for that, and one a broker for the level.
        expect(copied(before, now)).toBeLessThanOrEqual(topics + three.length)
      }),
      { numRuns: 40 },
    )
  })

  it('follows a changed replication factor, and keeps what fails together least', () => {
    const places = placesOf(6, 3)
    const topics = placed(20, 2, places).map((topic) => ({ ...topic, replicationFactor: 3 }))
    const grown = after(topics, places)
    for (const topic of grown) expect([topic.replicas.length, worstRack(topic, places)]).toEqual([3, 1])
    for (const [i, { replicas }] of grown.entries())
      expect(replicas).toEqual(expect.arrayContaining([...topics[i]!.replicas]))
    const shrunk = after(
      grown.map((topic) => ({ ...topic, replicationFactor: 1 })),
      places,
    )
    expect(copied(grown, shrunk)).toBe(0)
    for (const { replicas } of shrunk) expect(replicas).toHaveLength(1)
  })

  it('keeps the dead letters of a topic where the topic is, and led by the same broker', () => {
    const places = placesOf(6)
    const mains = placed(12, 3, places.slice(0, 4))
    const letters = mains.map(({ topicId }) => ({
      topicId: `${topicId}-dead`,
      replicas: ['n-0'],
      replicationFactor: 1,
      like: topicId,
    }))
    const orphan = { topicId: 'orphan', replicas: ['n-1'], replicationFactor: 1, like: 'deleted' }
    const now = new Map(
      after([...letters, ...mains, orphan], places).map(({ topicId, replicas }) => [topicId, replicas]),
    )
    for (const { topicId } of mains) expect(now.get(`${topicId}-dead`)).toEqual(now.get(topicId))
    expect(now.get('orphan')).toHaveLength(1)
  })

  it('moves nothing when there is nowhere to go', () => {
    expect(rebalance(placed(3, 2, placesOf(2)), []).size).toBe(0)
    const one = placed(3, 2, placesOf(2))
    expect([...rebalance(one, placesOf(1)).values()]).toEqual([['n-0'], ['n-0'], ['n-0']])
  })
})
