/**
 * Deliberate bugs of decisions and runners, each over one or two methods for the time of a hunt, with a theme in
 * which they matter: a whole thousand runs would find them without it, forty runs should.
 */

import { TidingsError } from '@tidings/sdk/protocol'
import { Catalog } from '../../src/cluster/catalog.ts'
import { PatternHost } from '../../src/cluster/pattern-host.ts'
import { SubscriptionExpiry } from '../../src/cluster/subscription-expiry.ts'
import { KeyTable } from '../../src/log/key-table.ts'
import { LogPartition } from '../../src/partition/partition.ts'
import { Producers } from '../../src/partition/producers.ts'
import { RememberedLog } from '../../src/partition/remembered-log.ts'
import { Scheduler } from '../../src/partition/scheduler.ts'
import type { PublishOutcome } from '../../src/partition/topic.ts'
import { HostedTopic } from '../../src/partition/topic.ts'
import { AckLedger } from '../../src/subscription/ack-ledger.ts'
import { Attendance } from '../../src/subscription/attendance.ts'
import { Cursor } from '../../src/subscription/cursor.ts'
import { KeyLedger } from '../../src/subscription/key-ledger.ts'
import { KeyQueue } from '../../src/subscription/key-queue.ts'
import { ReadyKeys } from '../../src/subscription/ready-keys.ts'
import { Screen } from '../../src/subscription/screen.ts'
import { type Repair, sabotage } from './sabotage.ts'
import type { Theme } from './scenario.ts'

export interface DecisionBug {
  theme: Theme
  breaks: () => Repair[]
}

const PLAIN: Theme = { roles: ['shared', 'exclusive', 'failover'] }
const KEYED: Theme = { roles: ['keyed'] }
const DEAD: Theme = { roles: ['shared-dead', 'keyed-dead', 'exclusive-dead'] }
const NAMESAKES: Theme = { roles: ['keyed-dead', 'pattern-keyed-dead', 'exclusive-dead', 'pattern-dead'] }
const PARKED: Theme = { roles: ['keyed-parked', 'exclusive-parked'] }
const FILTERED: Theme = { roles: ['shared-blue', 'keyed-blue'] }
const BRIEF: Theme = { isBrief: true, crashes: 0.03 }
const PRODUCED: Theme = { produces: true }
const REMOVED: Theme = { ...PRODUCED, retention: 'bounded', repeats: 1 }
const SCHEDULED: Theme = { schedules: 0.4 }

/** The queue as if nothing waited in it and nothing had failed. */
function asIfEmpty(queue: KeyQueue): KeyQueue {
  return Object.create(queue, { waitingCount: { value: 0 }, failed: { value: [] } }) as KeyQueue
}

const isLetter = (headers: readonly (readonly [string, string])[]): boolean =>
  headers.some(([name]) => name === 'tidings-original-topic')

type Header = readonly [string, string]

function withoutTopic([name, value]: Header): Header[] {
  if (name === 'tidings-subscription-topic') return []
  return [[name, name === 'tidings-redriven-to' ? value.slice(value.indexOf('/') + 1) : value]]
}

export const DECISION_BUGS: Record<string, DecisionBug> = {
  'a release that counts': {
    theme: {},
    breaks: () => [
      sabotage(AckLedger.prototype, 'release', (_, [holder, from, to], self) => self.nack(holder, from, to, 0, 0)),
    ],
  },
  'a release by key that counts': {
    theme: KEYED,
    breaks: () => [
      sabotage(KeyLedger.prototype, 'release', (_, [holder, from, to], self) => self.nack(holder, from, to, 0, 0)),
    ],
  },
  'an acknowledgement that takes the next message along': {
    theme: {},
    breaks: () => [sabotage(AckLedger.prototype, 'ack', (real, [holder, from, to]) => real(holder, from, to + 1))],
  },
  'a delivery before its record': {
    theme: { ...PLAIN, crashes: 0.03 },
    breaks: () => [
      sabotage(Cursor.prototype, 'stage', (real, [handOver, isRedelivery]) => {
        handOver(true)
        real(() => undefined, isRedelivery)
      }),
    ],
  },
  'a confirmation before its record': {
    theme: { ...PLAIN, crashes: 0.03 },
    breaks: () => [
      sabotage(Cursor.prototype, 'confirm', (_, [confirm], cursor) => {
        cursor.touch('lazy')
        confirm(null)
      }),
    ],
  },
  'leases that outlive their consumer': {
    theme: PLAIN,
    breaks: () => [sabotage(AckLedger.prototype, 'detach', () => 0)],
  },
  'a key that forgets with whom it is when its owner changes': {
    theme: KEYED,
    breaks: () => [
      sabotage(ReadyKeys.prototype, 'groupOf', (real, [queue]) =>
        real(Object.create(queue, { leases: { value: 0 } }) as KeyQueue),
      ),
    ],
  },
  'a failed message that does not block its key': {
    theme: KEYED,
    breaks: () => [
      sabotage(KeyLedger.prototype, 'groupOf', (real, [queue]) => real(asIfEmpty(queue))),
      sabotage(KeyQueue.prototype, 'isOvertaking', () => false),
    ],
  },
  'a parked key that does not block': {
    theme: PARKED,
    breaks: () => [
      sabotage(KeyLedger.prototype, 'groupOf', (real, [queue]) => real(queue.parked > 0 ? asIfEmpty(queue) : queue)),
      sabotage(KeyQueue.prototype, 'isOvertaking', (real, [offset], queue) => queue.parked === 0 && real(offset)),
    ],
  },
  'a replaced value that is lost': {
    theme: PARKED,
    breaks: () => [sabotage(KeyLedger.prototype, 'replacementOf', () => null)],
  },
  'a discarded message that is tried again': {
    theme: PARKED,
    breaks: () => [sabotage(KeyLedger.prototype, 'discard', (_, [message], self) => self.resume(message))],
  },
  'a filter that takes the next message along': {
    theme: FILTERED,
    breaks: () => [
      sabotage(AckLedger.prototype, 'skip', (real, [from, to]) => real(from, to + 1)),
      sabotage(KeyLedger.prototype, 'skip', (real, [from, to]) => real(from, to + 1)),
    ],
  },
  'a burial before the letter is durable': {
    theme: DEAD,
    breaks: () => [
      sabotage(HostedTopic.prototype, 'publishAll', (real, [inputs, done]) => {
        if (!inputs.some(({ headers }) => isLetter(headers))) return real(inputs, done)
        // A place that nothing was moved back from: else the letter would be written again without an end.
        const outcome: PublishOutcome = { partition: 0, offset: 1e9, id: '0:1000000000', timestamp: 0 }
        real(inputs, () => undefined)
        done(
          null,
          inputs.map(() => outcome),
        )
      }),
    ],
  },
  'a scheduled message that comes early': {
    theme: SCHEDULED,
    breaks: () => [
      sabotage(Scheduler.prototype, 'add', (real, [messages, done]) =>
        real(
          messages.map((message) => ({ ...message, deliverAt: message.scheduledAt })),
          done,
        ),
      ),
    ],
  },
  'a cancellation that is only answered': {
    theme: SCHEDULED,
    breaks: () => [sabotage(Scheduler.prototype, 'cancel', () => Promise.resolve(true))],
  },
  'a redrive that brings nothing back': {
    theme: DEAD,
    breaks: () => [sabotage(KeyLedger.prototype, 'revive', () => 0)],
  },
  'dead letters and copies of them that only have the name of their subscription': {
    theme: NAMESAKES,
    breaks: () => [
      sabotage(HostedTopic.prototype, 'publishAll', (real, [inputs, done]) =>
        real(
          inputs.map((input) => ({ ...input, headers: input.headers.flatMap(withoutTopic) })),
          done,
        ),
      ),
    ],
  },
  'a log that is not searched for what was stored before a crash': {
    theme: { ...SCHEDULED, crashes: 0.02, repeats: 1 },
    breaks: () => [sabotage(LogPartition.prototype, 'recall', async () => {})],
  },
  'a start that does not know the frames of producers': {
    theme: { ...PRODUCED, repeats: 1 },
    breaks: () => [
      sabotage(LogPartition.prototype, 'recall', (real, [since, { key }]) => real(since, key ? { key } : {})),
    ],
  },
  'a producer whose later frames pass one that failed': {
    theme: { ...PRODUCED, roles: ['shared'] },
    breaks: () => [sabotage(Producers.prototype, 'failed', () => undefined)],
  },
  'a retention that keeps no keys': {
    theme: REMOVED,
    breaks: () => [sabotage(RememberedLog.prototype, 'save', async () => true)],
  },
  'a start that does not read the keys of what retention removed': {
    theme: REMOVED,
    breaks: () => [sabotage(RememberedLog.prototype, 'recall', async () => {})],
  },
  'a retention that ignores who is behind': {
    theme: { retention: 'until acked', roles: ['failover', 'exclusive', 'keyed'] },
    breaks: () => [sabotage(LogPartition.prototype, 'maintain', (real) => real(() => Number.POSITIVE_INFINITY))],
  },
  // After the first start there are publishes of every key of which nobody knows whether they are stored.
  'a message that compaction kept and subscriptions pass over': {
    theme: { ...PLAIN, retention: 'compacted', crashes: 0.03 },
    breaks: () => [
      sabotage(Screen.prototype, 'verdict', (real, [topic, batch, offset, attempt]) =>
        batch.hasRemovals ? 'compacted' : real(topic, batch, offset, attempt),
      ),
    ],
  },
  'a compaction that drops the newest of a key': {
    theme: { retention: 'compacted' },
    breaks: () => [sabotage(KeyTable.prototype, 'newestOf', (real, [key]) => real(key) + 1)],
  },
  'an expiry with a consumer attached': {
    theme: BRIEF,
    breaks: () => [sabotage(Attendance.prototype, 'changed', (real, [, now]) => real(false, now))],
  },
  'an expiry that never comes': {
    theme: BRIEF,
    breaks: () => [sabotage(SubscriptionExpiry.prototype, 'start', () => undefined)],
  },
  'an expiry that does not wait for anybody after a start': {
    theme: BRIEF,
    breaks: () => {
      const attended = new WeakSet<Attendance>()
      return [
        sabotage(Attendance.prototype, 'changed', (real, args, self) => {
          attended.add(self)
          real(...args)
        }),
        sabotage(Attendance.prototype, 'isOver', (real, [ms, now], self) =>
          attended.has(self) ? real(ms, now) : ms !== null,
        ),
      ]
    },
  },
  'an expiry that a restart undoes': {
    theme: BRIEF,
    breaks: () => [
      sabotage(Catalog.prototype, 'deleteSubscription', (_, [, name]) =>
        Promise.reject(new TidingsError('subscription_not_found', `${name} is said to be gone`)),
      ),
    ],
  },
  'a pattern that misses topics which come later': {
    theme: { roles: ['pattern', 'pattern-keyed'] },
    breaks: () => [sabotage(PatternHost.prototype, 'came', () => undefined)],
  },
}
