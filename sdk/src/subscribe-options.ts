/**
 * What a user asks of a subscription, checked, and the path of the stream that asks the broker for it. A codec;
 * called by subscription.ts.
 */
import type { Message } from './message.ts'
import { integer, invalid } from './option-checks.ts'
import { DEFAULT_ACK_DEADLINE_MS, DEFAULT_PREFETCH, DEFAULT_TYPE } from './protocol/defaults.ts'
import type { TidingsError } from './protocol/errors.ts'
import * as LIMITS from './protocol/limits.ts'
import { parseTimestamp } from './protocol/message.ts'
import { checkName } from './protocol/names.ts'
import { SUBSCRIPTION_TYPES, type SubscriptionType } from './protocol/subscription.ts'

/** Offsets that retention removed before this subscription had acknowledged them. */
export interface Gap {
  /** The topic that they were in. */
  topic: string
  /** Their partition. */
  partition: number
  /** The first of them. */
  from: number
  /** Inclusive. */
  to: number
}

/** What becomes of a message that its schema does not admit. */
export type InvalidVerdict = 'reject' | 'nack' | 'ack'

/** How to subscribe. All of it may be left out. */
export interface SubscribeOptions {
  /** This and the next two are for the subscription's creation: an existing one keeps its own. Default: `shared`. */
  type?: SubscriptionType
  /** `latest` (the default), `earliest`, or a Date or an RFC 3339 text: what is published from then on. */
  start?: Date | string
  /** For the subscription's creation: how long a message may lie with a consumer. Default: 30 s. */
  ackDeadlineMs?: number
  /** Most messages that lie here unacknowledged. Default: 256. */
  prefetch?: number
  /** Handlers at the same time. Default: 1. */
  concurrency?: number
  /** A name for the broker's logs and states. */
  consumer?: string
  /** For dispatch by weight. */
  weight?: number
  /** A message that is handled for longer than this is no longer held back from others. Default: an hour. */
  maxExtensionMs?: number
  /** Retention removed messages before this subscription had acknowledged them. */
  onGap?: (gap: Gap) => void
  /** Something went wrong that is tried again by itself, such as a lost connection. */
  onError?: (error: TidingsError) => void
  /** A handler threw; the message has been handed back. */
  onFailure?: (error: unknown, message: Message<unknown>) => void
  /**
   * Where a schema describes the topic: what becomes of a message that breaks it. `reject` puts it to the dead letters,
   * `nack` hands it back for later, `ack` drops it. Default: `reject` where the subscription has dead letters, else
   * `nack`, so that nothing is lost. `onFailure` hears of it too.
   */
  onInvalid?: InvalidVerdict | ((violation: TidingsError, message: Message<unknown>) => InvalidVerdict)
  /** Connected, again or for the first time. */
  onConnect?: () => void
}

export const SUBSCRIBE_KNOWN: Readonly<Record<keyof SubscribeOptions, 1>> = {
  type: 1,
  start: 1,
  ackDeadlineMs: 1,
  prefetch: 1,
  concurrency: 1,
  consumer: 1,
  weight: 1,
  maxExtensionMs: 1,
  onGap: 1,
  onError: 1,
  onFailure: 1,
  onInvalid: 1,
  onConnect: 1,
}

const PATTERN_LEVEL = /^(?:\*{1,2}|[A-Za-z0-9._~-]+)$/
const MAX_EXTENSION_MS = 3_600_000

/** The options with their defaults. Throws `invalid_argument`. */
export function checkedOptions(
  options: SubscribeOptions,
): Required<Pick<SubscribeOptions, 'type' | 'ackDeadlineMs' | 'prefetch' | 'concurrency' | 'maxExtensionMs'>> {
  const { type = DEFAULT_TYPE, ackDeadlineMs = DEFAULT_ACK_DEADLINE_MS } = options
  if (!SUBSCRIPTION_TYPES.includes(type)) throw invalid(`type must be one of ${SUBSCRIPTION_TYPES.join(', ')}`)
  const { prefetch = DEFAULT_PREFETCH, concurrency = 1, maxExtensionMs = MAX_EXTENSION_MS } = options
  integer('ackDeadlineMs', ackDeadlineMs, 1, LIMITS.delayMs)
  integer('prefetch', prefetch, 1, LIMITS.prefetch)
  integer('concurrency', concurrency, 1, LIMITS.prefetch)
  integer('maxExtensionMs', maxExtensionMs, 0)
  return { type, ackDeadlineMs, prefetch, concurrency, maxExtensionMs }
}

/** Below a broker's URL. `topic` may be a pattern. */
export function subscriptionPath(topic: string, name: string): string {
  const isPattern = topic.split('.').some((level) => level === '*' || level === '**')
  if (!isPattern) checkName('topic', topic)
  else if (topic.length > 200 || !topic.split('.').every((level) => PATTERN_LEVEL.test(level))) {
    throw invalid(`topic ${JSON.stringify(topic)} is no pattern: levels are names, * or **`)
  }
  return `/v1/topics/${encodeURIComponent(topic)}/subscriptions/${encodeURIComponent(checkName('subscription', name))}`
}

export function streamPath(topic: string, name: string, options: SubscribeOptions): string {
  const query = new URLSearchParams()
  const { type, start, ackDeadlineMs, prefetch = DEFAULT_PREFETCH, consumer, weight } = options
  if (type !== undefined) query.set('type', type)
  if (start !== undefined) query.set('start', startText(start))
  if (ackDeadlineMs !== undefined) query.set('ackDeadlineMs', String(ackDeadlineMs))
  query.set('prefetch', String(prefetch))
  if (consumer !== undefined) query.set('consumer', consumer)
  if (weight !== undefined) query.set('weight', String(integer('weight', weight, 1, LIMITS.weight)))
  return `${subscriptionPath(topic, name)}/stream?${query}`
}

function startText(start: Date | string): string {
  if (start instanceof Date) {
    if (Number.isNaN(start.getTime())) throw invalid('start is a Date that is no time')
    return start.toISOString()
  }
  if (start === 'latest' || start === 'earliest' || parseTimestamp(start) !== null) return start
  throw invalid('start must be latest, earliest, a Date or an RFC 3339 time')
}
