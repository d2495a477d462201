/** Messages as a test reads them back from the log of a topic, and dead letters with what is said of their end. */
import { DEAD_LETTER_HEADER, type MessageJson } from '@tidings/sdk/protocol'

export interface TestMessage<T = unknown> {
  id: string
  topic: string
  partition: number
  offset: number
  key: string | null
  /** What JSON gives back; a string for text; a Uint8Array for everything else. */
  value: T
  headers: Readonly<Record<string, string>>
  contentType: string
  /** RFC 3339, UTC. */
  timestamp: string
}

export interface DeadLetter<T = unknown> extends TestMessage<T> {
  originalTopic: string
  originalId: string
  attempts: number
  reason: string
}

export function testMessage<T>({ base64, value, ...rest }: MessageJson): TestMessage<T> {
  return { ...rest, value: (base64 === undefined ? value : Uint8Array.from(Buffer.from(base64, 'base64'))) as T }
}

/** Null for a message that is no dead letter of that subscription. */
export function deadLetterOf<T>(
  message: TestMessage<T>,
  subscription: { topic: string; name: string },
): DeadLetter<T> | null {
  const { headers } = message
  const topic = headers[DEAD_LETTER_HEADER.subscriptionTopic] ?? headers[DEAD_LETTER_HEADER.originalTopic]
  if (headers[DEAD_LETTER_HEADER.subscription] !== subscription.name || topic !== subscription.topic) return null
  return {
    ...message,
    originalTopic: headers[DEAD_LETTER_HEADER.originalTopic] ?? '',
    originalId: headers[DEAD_LETTER_HEADER.originalId] ?? '',
    attempts: Number(headers[DEAD_LETTER_HEADER.attempts] ?? 0),
    reason: headers[DEAD_LETTER_HEADER.reason] ?? '',
  }
}
