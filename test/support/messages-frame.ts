/** A `messages` event as a broker sends it, of records that a test makes. */
import { encodeRecord, MESSAGES_HEADER_BYTES, type MessagesEvent, putMessagesHeader } from '@tidings/sdk/protocol'

export interface RecordParts {
  key?: string | null
  value?: string | Uint8Array
  contentType?: string
  headers?: readonly (readonly [string, string])[]
}

type FramePlace = Partial<Pick<MessagesEvent, 'topic' | 'partition' | 'timestamp' | 'attempt'>>

export function messagesFrame(baseOffset: number, records: readonly RecordParts[], place: FramePlace = {}): Uint8Array {
  const parts = records.map(({ key = null, value = '', contentType = 'application/json', headers = [] }) =>
    encodeRecord({
      key: key === null ? null : Buffer.from(key),
      value: typeof value === 'string' ? Buffer.from(value) : value,
      contentType,
      headers,
      idempotencyKey: null,
      expiresAt: null,
      valueChecked: false,
    }),
  )
  const head = new Uint8Array(MESSAGES_HEADER_BYTES)
  const { topic = 0, partition = 0, timestamp = Date.UTC(2026, 0, 1), attempt = 1 } = place
  putMessagesHeader(head, 0, { topic, partition, baseOffset, timestamp, attempt }, parts.length)
  return Uint8Array.from(Buffer.concat([head, ...parts]))
}
