/**
 * The words of the history checker: the codes of what can be wrong, what a run must state about itself to be
 * judged, and the verdict. See history-checker.ts for the rules.
 */

export const ANOMALIES = [
  'LOST',
  'PHANTOM',
  'ABORTED_READ',
  'INCONSISTENT_OFFSET',
  'WRONG_OFFSET',
  'DUP_LOG',
  'OFFSET_GAP',
  'SEND_REORDER',
  'REORDER_PART',
  'RESURRECTED',
  'UNACCOUNTED_REDELIVERY',
  'ATT_RESET',
  'OVERLAP',
  'HW_BACK',
  'NOT_DRAINED',
  'SKIP',
] as const
export type Anomaly = (typeof ANOMALIES)[number]

export interface SubscriptionFacts {
  name: string
  /** Order is promised on one session. */
  ordered: boolean
  ackDeadlineMs: number
}

export interface Facts {
  /** Subscriptions that began at the earliest offset before anything was published. */
  subscriptions: readonly SubscriptionFacts[]
  /** The run ended with every subscription idle: what was not delivered by then is lost. */
  drained: boolean
  /** How long a frame may be under way while the other side already acts on something later. */
  flightMs: number
  /** Fewer publishes answered, or a fault that never happened: the run proves nothing. */
  minPublished: number
  faults: readonly string[]
}

export interface Verdict {
  anomalies: Partial<Record<Anomaly, { count: number; samples: string[] }>>
  /** Why the run proves nothing; empty when it does. */
  invalid: string[]
  published: number
  unanswered: number
  /** Published without an answer and delivered all the same: allowed, and counted. */
  recovered: number
  delivered: Record<string, number>
  /** Deliveries with an attempt above 1. */
  redelivered: Record<string, number>
  /** Deliveries of a position that a consumer had got before. */
  duplicates: Record<string, number>
  /** Answered publishes that never came, in a run that was drained. */
  lost: Record<string, number>
  /** Acknowledgements whose confirmation was seen. */
  confirmed: Record<string, number>
}

const SAMPLES = 8

export class Report {
  readonly anomalies: Verdict['anomalies'] = {}

  add(code: Anomaly, sample: string): void {
    this.anomalies[code] ??= { count: 0, samples: [] }
    const entry = this.anomalies[code]
    entry.count++
    if (entry.samples.length < SAMPLES) entry.samples.push(sample)
  }
}

/** What is known of one value: how its publishes ended and where it was seen. */
export interface ValueRecord {
  hash: string
  idempotent: boolean
  ok: number
  info: number
  fail: number
  open: number
  /** Positions that receipts named. */
  receipts: Set<string>
  /** Positions at which it was delivered or read. */
  seen: Set<string>
}

export function positionKey(at: { partition: number; offset: number }): string {
  return `${at.partition}:${at.offset}`
}
