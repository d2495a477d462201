/**
 * What a subscription's settings become when a request asks to change them: a decision. The patch is
 * the request's JSON body, unchecked; a key that it leaves out keeps its value (its default for a new
 * subscription). The result is always a complete, valid and fresh object; anything else is
 * `invalid_argument`, or `conflict` for a type or start that differs from that of the subscription.
 */
import {
  checkName,
  DEAD_LETTER_DEFAULTS,
  DEAD_LETTER_MODES,
  type DeadLetterSettings,
  DISPATCH_POLICIES,
  LIMITS,
  type Position,
  parseTimestamp,
  SUBSCRIPTION_DEFAULTS,
  SUBSCRIPTION_TYPES,
  type SubscriptionSettings,
  TidingsError,
} from '@tidings/sdk/protocol'
import { fieldsOf, integerField, invalidField, nullable, oneOfField } from '../base/field.ts'
import { compileFilter } from './filter.ts'

const KEYS = Object.keys(SUBSCRIPTION_DEFAULTS)
const DEAD_LETTER_KEYS = Object.keys(DEAD_LETTER_DEFAULTS)
const BACKOFF_KEYS = Object.keys(SUBSCRIPTION_DEFAULTS.backoff)

/** The settings after the patch. `current` is null for a subscription that does not exist yet. */
export function mergeSubscriptionSettings(current: SubscriptionSettings | null, patch: unknown): SubscriptionSettings {
  const fields = fieldsOf('subscription settings', patch === undefined ? {} : patch, KEYS)
  const base = current ?? SUBSCRIPTION_DEFAULTS
  const pick = <T>(key: keyof SubscriptionSettings, kept: T, check: (path: string, value: unknown) => T): T =>
    fields.has(key) ? check(key, fields.get(key)) : kept
  const settings: SubscriptionSettings = {
    type: pick('type', base.type, (path, value) => oneOfField(path, value, SUBSCRIPTION_TYPES)),
    start: pick('start', base.start, checkPosition),
    ackDeadlineMs: pick('ackDeadlineMs', base.ackDeadlineMs, (path, value) =>
      integerField(path, value, 1, LIMITS.delayMs),
    ),
    maxUnacked: pick('maxUnacked', base.maxUnacked, (path, value) => integerField(path, value, 1, LIMITS.maxUnacked)),
    backoff: mergeBackoff(base.backoff, fields.get('backoff')),
    deadLetter: pick('deadLetter', base.deadLetter, (_, value) =>
      nullable(value, (patched) => mergeDeadLetter(base.deadLetter, patched)),
    ),
    filter: pick('filter', base.filter, (path, value) => nullable(value, (text) => filterField(path, text))),
    dispatch: pick('dispatch', base.dispatch, (path, value) => oneOfField(path, value, DISPATCH_POLICIES)),
    expireAfterMs: pick('expireAfterMs', base.expireAfterMs, (path, value) =>
      nullable(value, (ms) => integerField(path, ms, 1, Number.MAX_SAFE_INTEGER)),
    ),
  }
  checkParking(settings)
  if (current) refuseChange(current, settings)
  // An equal start may be spelled in another way; what was kept first stays.
  return { ...settings, start: copyPosition(current ? current.start : settings.start) }
}

/** As `mergeSubscriptionSettings`, for what comes from a client: `filter_invalid` for a filter that does not compile. */
export function acceptSubscriptionSettings(current: SubscriptionSettings | null, patch: unknown): SubscriptionSettings {
  const settings = mergeSubscriptionSettings(current, patch)
  if (settings.filter !== null && settings.filter !== current?.filter) compileFilter(settings.filter)
  return settings
}

function mergeDeadLetter(base: DeadLetterSettings | null, patch: unknown): DeadLetterSettings {
  const fields = fieldsOf('deadLetter', patch, DEAD_LETTER_KEYS)
  const kept = base ?? DEAD_LETTER_DEFAULTS
  const topic = fields.has('topic') ? nullable(fields.get('topic'), deadLetterTopic) : kept.topic
  const integer = (key: 'maxDeliveries' | 'maxParked', most: number): number =>
    fields.has(key) ? integerField(`deadLetter.${key}`, fields.get(key), 1, most) : kept[key]
  return {
    mode: fields.has('mode') ? oneOfField('deadLetter.mode', fields.get('mode'), DEAD_LETTER_MODES) : kept.mode,
    topic,
    maxDeliveries: integer('maxDeliveries', LIMITS.maxDeliveries),
    maxParked: integer('maxParked', LIMITS.maxParked),
  }
}

function deadLetterTopic(value: unknown): string {
  if (typeof value !== 'string') throw invalidField('deadLetter.topic', 'the name of a topic', value)
  return checkName('topic', value)
}

/** What the expression says is for whoever compiles it. */
export function filterField(path: string, value: unknown): string {
  if (typeof value !== 'string' || value.trim() === '') throw invalidField(path, 'a CEL expression, or null', value)
  if (Buffer.byteLength(value) <= LIMITS.filterBytes) return value
  throw new TidingsError('invalid_argument', `${path}: an expression may have ${LIMITS.filterBytes} bytes at most`)
}

/** Only where a key has an order can it be parked. */
function checkParking({ type, deadLetter }: SubscriptionSettings): void {
  if (deadLetter?.mode !== 'park' || type === 'key_shared' || type === 'exclusive') return
  throw new TidingsError(
    'invalid_argument',
    `deadLetter.mode: "park" keeps keys in order, which a ${type} subscription does not; use key_shared or exclusive`,
  )
}

function mergeBackoff(base: SubscriptionSettings['backoff'], patch: unknown): SubscriptionSettings['backoff'] {
  const fields = patch === undefined ? new Map<string, unknown>() : fieldsOf('backoff', patch, BACKOFF_KEYS)
  const delay = (key: 'minMs' | 'maxMs'): number =>
    fields.has(key) ? integerField(`backoff.${key}`, fields.get(key), 0, LIMITS.delayMs) : base[key]
  const backoff = { minMs: delay('minMs'), maxMs: delay('maxMs') }
  if (backoff.minMs > backoff.maxMs) {
    throw new TidingsError(
      'invalid_argument',
      `backoff: minMs ${backoff.minMs} is more than maxMs ${backoff.maxMs}; set both to move the range`,
    )
  }
  return backoff
}

const POSITION_FORMS = '"latest", "earliest", {"timestamp": RFC 3339} or {"offsets": {"<partition>": offset}}'
const PARTITION_NUMBER = /^(?:0|[1-9]\d*)$/

/** A position as `start` and seek's `to` give it. Whether its partitions exist is the caller's to know. */
export function checkPosition(path: string, value: unknown): Position {
  if (value === 'latest' || value === 'earliest') return value
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalidField(path, POSITION_FORMS, value)
  }
  const fields = fieldsOf(path, value, ['timestamp', 'offsets'])
  if (fields.size !== 1) throw invalidField(path, POSITION_FORMS, value)
  const timestamp = fields.get('timestamp')
  if (timestamp === undefined) return { offsets: checkOffsets(`${path}.offsets`, fields.get('offsets')) }
  if (typeof timestamp !== 'string' || parseTimestamp(timestamp) === null) {
    throw invalidField(`${path}.timestamp`, 'an RFC 3339 time from 1970 on, as "2026-01-31T12:00:00Z"', timestamp)
  }
  return { timestamp }
}

function checkOffsets(path: string, value: unknown): Record<string, number> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalidField(path, 'an object of partition numbers and offsets', value)
  }
  const offsets: Record<string, number> = {}
  for (const [partition, offset] of Object.entries(value)) {
    if (!PARTITION_NUMBER.test(partition) || Number(partition) >= LIMITS.partitions) {
      throw invalidField(path, `partition numbers from 0 to ${LIMITS.partitions - 1} as keys`, partition)
    }
    offsets[partition] = integerField(`${path}.${partition}`, offset, 0, Number.MAX_SAFE_INTEGER)
  }
  if (Object.keys(offsets).length === 0) throw invalidField(path, 'the offset of at least one partition', value)
  return offsets
}

function refuseChange(current: SubscriptionSettings, wanted: SubscriptionSettings): void {
  if (wanted.type !== current.type) {
    throw new TidingsError(
      'conflict',
      `type: the subscription is "${current.type}" and its type cannot be changed; ` +
        'delete it, or make one under another name',
    )
  }
  if (!samePosition(wanted.start, current.start)) {
    throw new TidingsError('conflict', 'start: the subscription exists and has begun; use seek to move it')
  }
  if (wanted.type === 'exclusive' && isParking(wanted) !== isParking(current)) {
    throw new TidingsError(
      'conflict',
      'deadLetter.mode: whether an exclusive subscription parks keys cannot be changed; ' +
        'delete it, or make one under another name',
    )
  }
}

function isParking({ deadLetter }: SubscriptionSettings): boolean {
  return deadLetter?.mode === 'park'
}

function samePosition(a: Position, b: Position): boolean {
  if (typeof a === 'string' || typeof b === 'string') return a === b
  if ('timestamp' in a) return 'timestamp' in b && parseTimestamp(a.timestamp) === parseTimestamp(b.timestamp)
  if (!('offsets' in b)) return false
  const partitions = Object.keys(a.offsets)
  const other = b.offsets
  return (
    partitions.length === Object.keys(other).length &&
    partitions.every((partition) => a.offsets[partition] === other[partition])
  )
}

function copyPosition(position: Position): Position {
  if (typeof position === 'string') return position
  return 'timestamp' in position ? { timestamp: position.timestamp } : { offsets: { ...position.offsets } }
}
