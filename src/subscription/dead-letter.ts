/**
 * A dead letter as a message: the copy of a message that was given up on, with headers that say where it
 * comes from and why. Pure; dead-letters.ts writes them, redrive.ts reads them.
 */
import {
  checkName,
  DEAD_LETTER_HEADER,
  type DeadLetterSettings,
  formatMessageId,
  isPattern,
  type MessageId,
  matchesPattern,
  parseMessageId,
  REDRIVEN_TO_HEADER,
  recordHeaders,
  recordKey,
  recordValueAt,
  recordValueChecked,
  TidingsError,
} from '@tidings/sdk/protocol'
import type { RecordBatch } from '../log/record-batch.ts'
import type { PublishInput } from '../partition/topic.ts'
import type { Reader } from './addressee.ts'

/** What is known of a message that is given up on. */
export interface Obituary {
  topic: string
  partition: number
  offset: number
  subscription: string
  /** The topic of the subscription, or its pattern. */
  subscriptionTopic: string
  attempts: number
  reason: string
}

/** Where a dead letter comes from, as its headers tell. */
export interface Origin {
  topic: string
  id: MessageId
  subscription: string
  /** Null: a broker wrote it that did not say. */
  subscriptionTopic: string | null
}

/** What is about one stay of a message, and not the message's own. */
const ADDED: readonly string[] = [...Object.values(DEAD_LETTER_HEADER), REDRIVEN_TO_HEADER]
const encoder = new TextEncoder()

/**
 * The topic that a subscription's dead letters go to. `invalid_argument` when that would be its own, or when
 * the default has no valid name.
 */
export function deadLetterTopic(topic: string, subscription: string, { topic: named }: DeadLetterSettings): string {
  if (named === topic) {
    throw new TidingsError(
      'invalid_argument',
      'deadLetter.topic: a dead letter would come back to the subscription that gave up on it; name another topic',
    )
  }
  if (named !== null) return named
  if (isPattern(topic)) {
    throw new TidingsError('invalid_argument', 'deadLetter.topic: a pattern has many topics; name one for dead letters')
  }
  const name = `${topic}.${subscription}.dlq`
  try {
    return checkName('topic', name)
  } catch (error) {
    const why = 'is no valid topic name (200 characters at most); name a topic'
    throw new TidingsError('invalid_argument', `deadLetter.topic: the default, "${name}", ${why}`, { cause: error })
  }
}

/** The dead letter of the record. It does not expire: that somebody looks at it may take long. */
export function deadLetterOf(batch: RecordBatch, about: Obituary, idempotencyKey: string): PublishInput {
  const copy = copyOf(batch, about.offset)
  const headers: [string, string][] = [
    [DEAD_LETTER_HEADER.originalTopic, about.topic],
    [DEAD_LETTER_HEADER.originalId, formatMessageId(about.partition, about.offset)],
    [DEAD_LETTER_HEADER.subscription, about.subscription],
    [DEAD_LETTER_HEADER.attempts, String(about.attempts)],
    [DEAD_LETTER_HEADER.reason, about.reason],
    [DEAD_LETTER_HEADER.subscriptionTopic, about.subscriptionTopic],
  ]
  // A dead letter's own dead letter tells of the last time: it is from there that it can be brought back.
  return { ...copy, headers: [...copy.headers, ...headers], idempotencyKey: encoder.encode(idempotencyKey) }
}

/**
 * Whether the reader wrote it. A letter that does not say of which topic or pattern its subscription was is
 * that of everybody of the name who reads the topic: nobody else may be left who could redrive it.
 */
export function isFrom({ topic, subscription, subscriptionTopic }: Origin, reader: Reader): boolean {
  if (subscription !== reader.name) return false
  if (subscriptionTopic !== null) return subscriptionTopic === reader.topic
  return isPattern(reader.topic) ? matchesPattern(reader.topic, topic) : topic === reader.topic
}

/** Null: the record is no dead letter. */
export function originOf(batch: RecordBatch, offset: number): Origin | null {
  const { headers } = recordHeaders(batch.bytes, batch.positionOf(offset))
  const told = new Map(headers)
  const topic = told.get(DEAD_LETTER_HEADER.originalTopic)
  const id = told.get(DEAD_LETTER_HEADER.originalId)
  const subscription = told.get(DEAD_LETTER_HEADER.subscription)
  if (topic === undefined || id === undefined || subscription === undefined) return null
  try {
    const subscriptionTopic = told.get(DEAD_LETTER_HEADER.subscriptionTopic) ?? null
    return { topic, id: parseMessageId(id), subscription, subscriptionTopic }
  } catch {
    // Anybody may publish to the topic, and may have made this up.
    return null
  }
}

/** The record as a message to publish, without what a dead letter's headers added. */
export function copyOf(batch: RecordBatch, offset: number): PublishInput {
  const { bytes } = batch
  const at = batch.positionOf(offset)
  const { contentType, headers } = recordHeaders(bytes, at)
  return {
    key: recordKey(bytes, at),
    value: bytes.subarray(recordValueAt(bytes, at), at + 4 + bytes.readUInt32BE(at)),
    contentType,
    headers: headers.filter(([name]) => !ADDED.includes(name)),
    idempotencyKey: null,
    partition: null,
    ttlMs: null,
    valueChecked: recordValueChecked(bytes, at),
    byBroker: true,
  }
}
