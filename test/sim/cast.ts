/**
 * The cast of a simulated run: which topics it has and which subscriptions take part. A run draws a few of
 * many kinds, so that it stays small, and a thousand runs have them all together.
 */
import type { SimRandom } from '../../src/testing/sim-random.ts'
import type { Published } from './topic-witness.ts'

export const TOPIC = 'orders.main'
/** It is there where somebody follows the pattern. */
export const SIDE_TOPIC = 'orders.side'
const PATTERN = 'orders.*'
export const ACK_DEADLINE_MS = 400

/** One subscription of the cast: its settings, and what they promise. */
export interface Role {
  /** Names it in the run; at the broker its topic or pattern belongs to it. */
  name: string
  /** Its name at the broker, where that is another. */
  alias?: string
  topic: string
  patch: Readonly<Record<string, unknown>>
  /** What comes in order: a partition, a key, or nothing. */
  order: 'none' | 'partition' | 'key'
  /** One consumer has it all: of a key several messages may lie beside each other with it and with pulls. */
  isSingle?: true
  /** Its topic is a pattern of both topics. */
  isPattern?: true
  /** Consumers come and go all the time. */
  churns: boolean
  /** When a message is given up on, and where its dead letter goes. */
  deadLetter?: { maxDeliveries: number; topic: string }
  /** Keys whose message has failed too often wait until somebody decides. */
  parks?: true
  /** It is deleted after that long without anybody. */
  expireAfterMs?: number
  /** What its filter keeps from it. */
  refuses?: (published: Published) => boolean
}

/** What may be removed from a topic. */
export type Retention = 'everything stays' | 'bounded' | 'until acked' | 'compacted'

/** As settings of a topic. */
export const RETENTION: Record<Retention, object> = {
  'everything stays': {},
  bounded: { retention: { maxBytes: 1 } },
  'until acked': { retention: { untilAcked: true } },
  compacted: { compact: true },
}

export function retentionOf(random: SimRandom): Retention {
  const drawn = random.integer(10)
  if (drawn < 2) return 'bounded'
  if (drawn < 4) return 'compacted'
  return drawn < 6 ? 'until acked' : 'everything stays'
}

type Kind = Omit<Role, 'patch'> & { patch?: Record<string, unknown>; weight: number }

const KINDS: readonly Kind[] = [
  { name: 'shared', topic: TOPIC, weight: 3, order: 'none', churns: false },
  { name: 'exclusive', topic: TOPIC, weight: 3, order: 'partition', churns: false, patch: { type: 'exclusive' } },
  { name: 'keyed', topic: TOPIC, weight: 6, order: 'key', churns: true, patch: { type: 'key_shared' } },
  { name: 'failover', topic: TOPIC, weight: 3, order: 'partition', churns: true, patch: { type: 'failover' } },
]

const isRed = ({ color }: Published): boolean => color === 'red'
const FILTERED = { filter: 'headers.color == "blue"' }

const FILTER_KINDS: readonly Kind[] = [
  { name: 'shared-blue', topic: TOPIC, weight: 2, order: 'none', churns: false, refuses: isRed, patch: FILTERED },
  {
    name: 'keyed-blue',
    topic: TOPIC,
    weight: 2,
    order: 'key',
    churns: true,
    refuses: isRed,
    patch: { ...FILTERED, type: 'key_shared' },
  },
]

/** Dead letters of several subscriptions meet here. */
const LETTERS = 'letters'

const DEAD_KINDS: readonly Kind[] = [
  dead('shared-dead', 'none', { type: 'shared' }, 3, null),
  dead('exclusive-dead', 'partition', { type: 'exclusive' }, 2, LETTERS),
  dead('keyed-dead', 'key', { type: 'key_shared' }, 2, LETTERS),
  { ...dead('keyed-parked', 'key', { type: 'key_shared' }, 2, LETTERS, { mode: 'park' }), parks: true },
  {
    ...dead('exclusive-parked', 'key', { type: 'exclusive' }, 2, LETTERS, { mode: 'park', maxParked: 1 }),
    parks: true,
    isSingle: true,
  },
]

const PATTERN_KINDS: readonly Kind[] = [
  { name: 'pattern', topic: PATTERN, isPattern: true, weight: 2, order: 'none', churns: false },
  {
    name: 'pattern-keyed',
    topic: PATTERN,
    isPattern: true,
    weight: 2,
    order: 'key',
    churns: true,
    patch: { type: 'key_shared' },
  },
  // They have a namesake on the topic, whose letters go to the same place.
  { ...deadPattern('pattern-dead', 'none', { type: 'shared' }, 'exclusive-dead'), weight: 2 },
  { ...deadPattern('pattern-keyed-dead', 'key', { type: 'key_shared' }, 'keyed-dead'), weight: 2 },
]

/** How the broker knows it. */
export function identityOf({ topic, name, alias = name }: Role): { topic: string; name: string } {
  return { topic, name: alias }
}

/** Whether what is published to the topic comes to the subscription. */
export function covers({ topic, isPattern }: Role, name: string): boolean {
  return isPattern ? name === TOPIC || name === SIDE_TOPIC : name === topic
}

function dead(
  name: string,
  order: Role['order'],
  patch: Record<string, unknown>,
  maxDeliveries: number,
  topic: string | null,
  more: Record<string, unknown> = {},
): Kind {
  const deadLetter = { topic: topic ?? `${TOPIC}.${name}.dlq`, maxDeliveries }
  const churns = order === 'key'
  return {
    name,
    topic: TOPIC,
    weight: 3,
    order,
    churns,
    deadLetter,
    patch: { ...patch, deadLetter: { ...more, topic, maxDeliveries } },
  }
}

function deadPattern(name: string, order: Role['order'], patch: Record<string, unknown>, alias: string): Kind {
  return { ...dead(name, order, patch, 2, LETTERS), topic: PATTERN, isPattern: true, alias }
}

const COMMON = {
  type: 'shared',
  start: 'earliest',
  ackDeadlineMs: ACK_DEADLINE_MS,
  backoff: { minMs: 50, maxMs: 400 },
  maxUnacked: 40,
}

const EXPIRE_MS = [700, 1500, 4000] as const

/** Some live only as long as somebody attends to them. */
function expiring(role: Role, random: SimRandom, isBrief: boolean): Role {
  const expireAfterMs = random.pick(EXPIRE_MS)
  if (!random.chance(0.12) && !isBrief) return role
  return { ...role, expireAfterMs, patch: { ...role.patch, expireAfterMs } }
}

/** Draws three to five kinds, each at most once; those that are wanted are among them. `isBrief`: all of them expire. */
export function castOf(random: SimRandom, wanted: readonly string[] = [], isBrief = false): Role[] {
  const left = [...KINDS, ...FILTER_KINDS, ...DEAD_KINDS, ...PATTERN_KINDS]
  const cast: Role[] = []
  const count = 3 + random.integer(3)
  while (cast.length < count && left.length > 0) {
    let at = random.integer(left.reduce((sum, { weight }) => sum + weight, 0))
    const due = left.findIndex(({ name }) => name === wanted[cast.length])
    const drawn = left.findIndex(({ weight }) => {
      at -= weight
      return at < 0
    })
    const index = due === -1 ? drawn : due
    const [{ weight: _, ...kind }] = left.splice(index, 1) as [Kind]
    cast.push(expiring({ ...kind, patch: { ...COMMON, ...kind.patch } }, random, isBrief))
  }
  return cast
}
