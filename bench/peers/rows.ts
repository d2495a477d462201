/**
 * The rows of the comparison: what is done, which of its figures are shown, and what ours has to reach: a multiple of
 * Redis Streams in the same run, or a figure by itself.
 */
import type { PeerName } from './all.ts'
import { httpPublishing } from './http-row.ts'
import { type Figures, publishing, replaying, type Scale, storing, streaming } from './measure.ts'

export interface Target {
  /** Multiple of Redis's figure in the same run, or the figure itself. */
  of: 'redis' | 'itself'
  atLeast?: number
  atMost?: number
}

export interface Shown {
  figure: string
  unit: string
  target: Target
}

export interface Row {
  what: string
  shown: readonly Shown[]
  peers: readonly PeerName[]
  /** Rounds in which the peers but Redis are measured too; all of them where it is not said. */
  otherRounds?: number
  /** It begins with messages that are stored, of which a slow peer may have fewer. */
  isCounted?: true
  measure(peer: PeerName, scale: Scale): Promise<Figures>
}

const SYNCED: readonly PeerName[] = ['tidings', 'redis', 'rabbitmq', 'nats']
const ALL: readonly PeerName[] = [...SYNCED, 'rabbitmq-stream']
const IN_FLIGHT = 1000

const timesRedis = (atLeast: number, unit = 'messages/s'): readonly Shown[] => [
  { figure: 'perSecond', unit, target: { of: 'redis', atLeast } },
]
const itself = (figure: string, unit: string, atMost: number): Shown => ({
  figure,
  unit,
  target: { of: 'itself', atMost },
})

const base = { bytes: 256, consumers: 1, subscriptions: 1, topics: 1, isBatchAcked: false } as const

export const ROWS: Readonly<Record<string, Row>> = {
  publish: {
    what: 'publish, 1,000 in flight, each awaited',
    shown: timesRedis(6),
    peers: ALL,
    measure: (peer, scale) => publishing(peer, scale, { bytes: 256, inFlight: IN_FLIGHT }),
  },
  'publish-1k': {
    what: 'the same at 1 KiB',
    shown: timesRedis(4),
    peers: ALL,
    measure: (peer, scale) => publishing(peer, scale, { bytes: 1024, inFlight: IN_FLIGHT }),
  },
  serial: {
    what: 'one publish at a time',
    shown: [{ figure: 'p50Ms', unit: 'ms p50', target: { of: 'redis', atMost: 1.1 } }],
    peers: SYNCED,
    measure: (peer, scale) => publishing(peer, scale, { bytes: 256, inFlight: 1 }),
  },
  deliver: {
    what: 'publish → deliver → single ack',
    shown: timesRedis(5),
    peers: ALL,
    measure: (peer, scale) => streaming(peer, scale, { ...base, ...scale, load: { inFlight: IN_FLIGHT }, topics: 1 }),
  },
  latency: {
    what: 'end to end at 5,000/s',
    shown: [itself('p50Ms', 'ms p50', 0.7), itself('p99Ms', 'ms p99', 3)],
    peers: SYNCED,
    measure: (peer, scale) =>
      streaming(peer, scale, {
        ...base,
        ...scale,
        load: { ratePerSecond: 5000 },
        topics: 1,
        warmUpMs: scale.warmUpMs + 1000,
      }),
  },
  'fan-out': {
    what: 'fan-out to 100 durable subscriptions',
    shown: timesRedis(7, 'deliveries/s'),
    peers: SYNCED,
    otherRounds: 1,
    measure: (peer, scale) =>
      streaming(peer, scale, {
        ...base,
        ...scale,
        topics: 1,
        subscriptions: 100,
        isBatchAcked: true,
        load: { inFlight: IN_FLIGHT },
        prefetch: 1000,
      }),
  },
  replay: {
    what: 'replay of a backlog with acks',
    shown: timesRedis(5),
    peers: ALL,
    otherRounds: 1,
    isCounted: true,
    measure: replaying,
  },
  shared: {
    what: '8 consumers share a topic, single acks',
    shown: timesRedis(5),
    peers: SYNCED,
    measure: (peer, scale) =>
      streaming(peer, scale, {
        ...base,
        ...scale,
        topics: 1,
        consumers: 8,
        load: { inFlight: IN_FLIGHT },
        prefetch: 1000,
      }),
  },
  stored: {
    what: '1 M messages stored',
    shown: [
      itself('rssMB', 'MB memory', 150),
      itself('bytesPerMessage', 'bytes/message', 300),
      itself('restartS', 's kill -9 to serving', 0.5),
    ],
    peers: SYNCED,
    otherRounds: 1,
    isCounted: true,
    measure: storing,
  },
  topics: {
    what: '1,000 topics × 1 message/s',
    shown: [itself('p99Ms', 'ms p99', 6), itself('serverCpuS', 's server CPU', 5)],
    peers: SYNCED,
    otherRounds: 1,
    measure: (peer, scale) =>
      streaming(peer, scale, {
        ...base,
        ...scale,
        topics: scale.topics,
        load: { ratePerSecond: scale.topics },
        durationMs: scale.topicsMs,
      }),
  },
  'http-64': httpRow(64, 0.75),
  'http-256': httpRow(256, 0.9),
}

function httpRow(connections: number, atLeast: number): Row {
  return {
    what: `plain HTTP, one message a request, ${connections} connections`,
    shown: [
      { figure: 'perSecond', unit: 'requests/s', target: { of: 'redis' } },
      { figure: 'ofBare', unit: '× a bare fastify route', target: { of: 'itself', atLeast } },
    ],
    peers: ['tidings'],
    measure: (_peer, scale) => httpPublishing(connections, scale),
  }
}
