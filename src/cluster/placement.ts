/**
 * Which brokers get the copies of a topic: a decision. Rendezvous hashing (of all brokers those with the highest hash of
 * broker and topic) with bounded load: racks are spread first, then nobody gets more than a quarter above the
 * average, then the hash decides. The same input in any order gives the same answer, on every broker.
 *
 * The first replica is the preferred leader; those are spread in the same way. A topic that holds the dead letters of
 * another gets the replicas of that one, so that one broker leads both.
 */
import { murmur2, TidingsError } from '@tidings/sdk/protocol'

/** A broker that may get copies: registered, and not on its way out. */
export interface Place {
  readonly nodeId: string
  readonly rack: string | null
}

export interface PlacedTopic {
  readonly topicId: string
  /** Where its copies are, or are moving to; the first should lead. */
  readonly replicas: readonly string[]
}

/** Copies above the average that a broker may have. */
const LOAD_BOUND = 1.25

/** The replicas of a topic that is made, the preferred leader first. Throws `not_enough_replicas` with fewer brokers than copies. */
export function place(
  topicId: string,
  replicationFactor: number,
  places: readonly Place[],
  topics: Iterable<PlacedTopic>,
): string[] {
  if (places.length < replicationFactor) {
    throw new TidingsError(
      'not_enough_replicas',
      `replicationFactor ${replicationFactor} needs as many brokers, and ${places.length} can take copies now: ` +
        'start more brokers, or make the topic with fewer copies',
    )
  }
  const counts = countsOf(topics)
  const total = [...counts.copies.values()].reduce((sum, count) => sum + count, 0)
  const copiesMax = Math.ceil((LOAD_BOUND * (total + replicationFactor)) / places.length)
  const leadersMax = Math.ceil((LOAD_BOUND * (counts.topics + 1)) / places.length)
  const chosen: Place[] = []
  while (chosen.length < replicationFactor) chosen.push(next(topicId, chosen, places, counts.copies, copiesMax))
  return led(topicId, chosen, counts.leaders, leadersMax)
}

/** The broker that gets the next copy, beside those that have one. */
export function next(
  topicId: string,
  chosen: readonly Place[],
  places: readonly Place[],
  copies: ReadonlyMap<string, number>,
  copiesMax: number,
): Place {
  const rank = (one: Place): number[] => [
    sharing(one, chosen),
    Math.max(0, (copies.get(one.nodeId) ?? 0) + 1 - copiesMax),
    -score(one.nodeId, topicId),
  ]
  return least(
    places.filter((one) => !chosen.some(({ nodeId }) => nodeId === one.nodeId)),
    rank,
  )
}

/** How many of the chosen fail together with it. */
export function sharing({ nodeId, rack }: Place, chosen: readonly Place[]): number {
  return chosen.filter((other) => other.nodeId !== nodeId && rack !== null && other.rack === rack).length
}

/** The same brokers, the one first that should lead. */
function led(topicId: string, chosen: readonly Place[], leaders: ReadonlyMap<string, number>, max: number): string[] {
  const first = least(chosen, ({ nodeId }) => [
    Math.max(0, (leaders.get(nodeId) ?? 0) + 1 - max),
    -score(nodeId, topicId),
  ])
  return [first, ...chosen.filter((one) => one !== first)].map(({ nodeId }) => nodeId)
}

interface Counts {
  topics: number
  /** By node id. */
  readonly copies: Map<string, number>
  readonly leaders: Map<string, number>
}

function countsOf(topics: Iterable<PlacedTopic>): Counts {
  const counts: Counts = { topics: 0, copies: new Map(), leaders: new Map() }
  for (const { replicas } of topics) {
    counts.topics++
    for (const node of replicas) counts.copies.set(node, (counts.copies.get(node) ?? 0) + 1)
    const [first] = replicas
    if (first !== undefined) counts.leaders.set(first, (counts.leaders.get(first) ?? 0) + 1)
  }
  return counts
}

/** How much the topic belongs on that broker: the same everywhere, and independent of all other brokers. */
export function score(nodeId: string, topicId: string): number {
  const both = `${topicId}\n${nodeId}`
  return murmur2(Buffer.from(both)) >>> 0
}

/** The one with the least rank, the numbers compared one after the other; by name where they are equal. */
function least(places: readonly Place[], rankOf: (one: Place) => readonly number[]): Place {
  const ranked = places.map((one) => ({ one, rank: rankOf(one) }))
  const best = ranked.reduce((a, b) => (compareRanks(b, a) < 0 ? b : a))
  return best.one
}

function compareRanks(a: { one: Place; rank: readonly number[] }, b: { one: Place; rank: readonly number[] }): number {
  const at = a.rank.findIndex((value, i) => value !== b.rank[i])
  if (at !== -1) return a.rank[at]! - b.rank[at]!
  return a.one.nodeId < b.one.nodeId ? -1 : 1
}
