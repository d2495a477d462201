/** What `top` shows: two looks at a broker as rates, and these as a table. Pure. */
import { bytesText, countText, rateText } from './amount.ts'
import { ageText, type SubscriptionJson } from './subscription.ts'
import { renderTable } from './table.ts'
import type { TopicJson } from './topic.ts'

/** One look. */
export interface Sample {
  /** Milliseconds that never go back. */
  at: number
  topics: { topic: TopicJson; subscriptions: readonly SubscriptionJson[] }[]
}

/** The shape of `top --json`; rates are null at the first sight of a topic or subscription. */
export interface TopicRow {
  topic: string
  messages: number
  bytes: number
  publishedPerSecond: number | null
  subscriptions: {
    name: string
    type: string
    backlog: number
    unacked: number
    consumers: number
    oldestUnackedAgeMs: number | null
    acknowledgedPerSecond: number | null
  }[]
}

/** The busiest first; of equals those with the larger backlog. */
export function rowsOf(before: Sample | null, now: Sample): TopicRow[] {
  const seconds = before === null ? 0 : (now.at - before.at) / 1000
  // A count that went back (a seek, a topic that was made anew) is no rate.
  const rate = (past: number | undefined, present: number): number | null =>
    past === undefined || seconds <= 0 || present < past ? null : (present - past) / seconds
  const rows = now.topics.map(({ topic, subscriptions }) => {
    const past = before?.topics.find((one) => one.topic.name === topic.name)
    return {
      topic: topic.name,
      messages: sum(topic.partitionStates, ({ nextOffset, earliestOffset }) => nextOffset - earliestOffset),
      bytes: sum(topic.partitionStates, ({ bytes }) => bytes),
      publishedPerSecond: rate(past && publishedOf(past.topic), publishedOf(topic)),
      subscriptions: subscriptions.map((subscription) => {
        const { name, type, state } = subscription
        const earlier = past?.subscriptions.find((one) => one.name === name)
        return {
          name,
          type,
          backlog: state.backlog,
          unacked: state.unacked,
          consumers: state.consumers.length,
          oldestUnackedAgeMs: state.oldestUnackedAgeMs,
          acknowledgedPerSecond: rate(earlier && acknowledgedOf(earlier), acknowledgedOf(subscription)),
        }
      }),
    }
  })
  return rows.sort((a, b) => busyness(b) - busyness(a) || backlogOf(b) - backlogOf(a) || (a.topic < b.topic ? -1 : 1))
}

/** At most `lines` lines, where that is given; what does not fit is counted. */
export function topText(rows: readonly TopicRow[], width?: number, lines?: number): string {
  const right = (title: string): { title: string; align: 'right' } => ({ title, align: 'right' })
  const columns = [
    { title: 'TOPIC' },
    { title: 'SUBSCRIPTION' },
    right('IN/s'),
    right('OUT/s'),
    right('BACKLOG'),
    right('UNACKED'),
    right('CONSUMERS'),
    right('OLDEST'),
    right('SIZE'),
  ]
  const cells = rows.flatMap((row) => [
    [row.topic, '', perSecond(row.publishedPerSecond), '', '', '', '', '', bytesText(row.bytes)],
    ...row.subscriptions.map((one) => [
      '',
      one.name,
      '',
      perSecond(one.acknowledgedPerSecond),
      countText(one.backlog),
      countText(one.unacked),
      String(one.consumers),
      ageText(one.oldestUnackedAgeMs),
      '',
    ]),
  ])
  const fitting = lines === undefined ? cells : cells.slice(0, Math.max(1, lines - 2))
  const rest = cells.length - fitting.length
  return `${renderTable(columns, fitting, width)}${rest > 0 ? `… and ${countText(rest)} more lines\n` : ''}`
}

function perSecond(rate: number | null): string {
  return rate === null ? '-' : rateText(rate)
}

function busyness({ publishedPerSecond, subscriptions }: TopicRow): number {
  return (publishedPerSecond ?? 0) + sum(subscriptions, ({ acknowledgedPerSecond }) => acknowledgedPerSecond ?? 0)
}

function backlogOf({ subscriptions }: TopicRow): number {
  return sum(subscriptions, ({ backlog }) => backlog)
}

function publishedOf({ partitionStates }: TopicJson): number {
  return sum(partitionStates, ({ nextOffset }) => nextOffset)
}

function acknowledgedOf({ state }: SubscriptionJson): number {
  return sum(state.cursors, ({ ackedThrough, ackedAhead }) => ackedThrough + ackedAhead)
}

function sum<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + of(item), 0)
}
