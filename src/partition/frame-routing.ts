/**
 * A producer's frame on its way into partitions: its records sorted by where they go, and checked where they are to be
 * stored. Where they go depends on nothing but the frame and its number of partitions, so that a repetition goes where
 * the first went, after a restart and after the topic has grown; what the topic asks of its messages by now does not
 * concern what is stored. Pure, and hot: no object for a record.
 */
import {
  EXPIRES,
  getU32,
  HAS_KEY,
  murmur2,
  RECORD_HEADER_BYTES,
  recordHeaders,
  recordIdempotencyKey,
  recordKey,
  recordKeyAt,
  recordKeyLength,
  recordValueAt,
  TidingsError,
  VALUE_CHECKED,
} from '@tidings/sdk/protocol'
import { HAS_EXPIRY } from '../log/record-batch.ts'
import type { PublishInput } from './publish-input.ts'

export interface FrameName {
  /** Drawn by the producer, 1 to 2^53. */
  producerId: number
  /** Of this frame among the producer's for this topic: one more than of the frame before. Below 2^53. */
  sequence: number
}

/** Records of one producer for one topic, which are stored once however often they come. */
export interface ProducedFrame extends FrameName {
  /** Of the topic, as the producer knew it when it made the frame: a repetition has the same. */
  partitionCount: number
  /** Records in it, at least one. */
  count: number
  /** Well-formed records (record.ts), back to back. The topic owns them from now on, and clears bits in them. */
  records: Uint8Array
}

/** An error that one record of a frame is to blame for. */
export class EntryError extends TidingsError {
  /** Index of the record. */
  readonly entry: number

  constructor(entry: number, error: TidingsError) {
    super(error.code, `entry ${entry}: ${error.message}`, { cause: error })
    this.entry = entry
  }
}

/** What the topic asks of every record. */
export interface RecordRules {
  maxMessageBytes: number
  topic: string
  /** Asks the schema; throws. Null: there is none. */
  check: ((input: PublishInput) => void) | null
}

export interface FramePart {
  partition: number
  count: number
  /** Of its records. */
  size: number
}

export interface RoutedFrame {
  parts: FramePart[]
  /** For each record the index of its part; null where there is one part. */
  partOf: Uint16Array | null
  /** Bits of the header of a batch with its records. */
  attributes: number
}

/** Throws EntryError, or `invalid_argument` for a frame that is not as ProducedFrame says. */
export function routeFrame(frame: ProducedFrame): RoutedFrame {
  const { records, count, partitionCount } = frame
  const attributes = checkShape(frame)
  if (partitionCount > 1) return sortRecords(frame, attributes)
  return { parts: [{ partition: 0, count, size: records.length }], partOf: null, attributes }
}

/** Answers the bits of a batch with these records. */
function checkShape({ records, count }: ProducedFrame): number {
  let at = 0
  let bits = 0
  for (let i = 0; i < count; i++) {
    const end = at + RECORD_HEADER_BYTES > records.length ? -1 : at + 4 + getU32(records, at)
    if (end === -1 || end > records.length)
      throw new TidingsError('invalid_argument', `entry ${i}: the frame ends in it`)
    if (records[at + 10] !== 0) throw keyed(i)
    records[at + 4]! &= ~VALUE_CHECKED
    bits |= records[at + 4]!
    at = end
  }
  if (count === 0 || at !== records.length) {
    throw new TidingsError(
      'invalid_argument',
      `a frame of ${count} records and ${records.length} bytes: they do not fit`,
    )
  }
  return bits & EXPIRES ? HAS_EXPIRY : 0
}

/** Throws EntryError for the first record that is not as the topic asks. Notes at those with a schema that they are checked. */
export function checkRules({ records, count }: ProducedFrame, rules: RecordRules): void {
  const { maxMessageBytes, check } = rules
  if (check === null && records.length <= maxMessageBytes) return
  let at = 0
  for (let i = 0; i < count; i++) {
    const end = at + 4 + getU32(records, at)
    const valueBytes = end - recordValueAt(records, at)
    if (valueBytes > maxMessageBytes) throw tooLarge(i, valueBytes, rules)
    if (check !== null) checkValue(records, at, end, i, check)
    at = end
  }
}

function checkValue(
  records: Uint8Array,
  at: number,
  end: number,
  entry: number,
  check: (input: PublishInput) => void,
): void {
  const input: PublishInput = {
    ...recordHeaders(records, at),
    key: recordKey(records, at),
    value: records.subarray(recordValueAt(records, at), end),
    idempotencyKey: recordIdempotencyKey(records, at),
    partition: null,
    ttlMs: null,
    valueChecked: false,
  }
  try {
    check(input)
  } catch (error) {
    throw new EntryError(entry, TidingsError.from(error))
  }
  if (input.valueChecked) records[at + 4]! |= VALUE_CHECKED
}

/** The partition of a frame's records without a key: all of them go to the same. */
function spread({ producerId, sequence, partitionCount }: ProducedFrame): number {
  return ((producerId % partitionCount) + (sequence % partitionCount)) % partitionCount
}

function sortRecords(frame: ProducedFrame, attributes: number): RoutedFrame {
  const { records, count, partitionCount } = frame
  const keyless = spread(frame)
  const partOf = new Uint16Array(count)
  /** For each partition one more than the index of its part. */
  const known = new Uint16Array(partitionCount)
  const numbers: number[] = []
  const sizes: number[] = []
  const counts: number[] = []
  let at = 0
  for (let i = 0; i < count; i++) {
    const end = at + 4 + getU32(records, at)
    let partition = keyless
    if (records[at + 4]! & HAS_KEY) {
      const from = recordKeyAt(records, at)
      partition = (murmur2(records, from, from + recordKeyLength(records, at)) & 0x7fffffff) % partitionCount
    }
    let part = known[partition]! - 1
    if (part === -1) {
      part = numbers.length
      known[partition] = part + 1
      numbers.push(partition)
      sizes.push(0)
      counts.push(0)
    }
    partOf[i] = part
    sizes[part]! += end - at
    counts[part]! += 1
    at = end
  }
  const parts = numbers.map((partition, i) => ({ partition, count: counts[i]!, size: sizes[i]! }))
  return { parts, partOf: parts.length > 1 ? partOf : null, attributes }
}

/** The records of each part, back to back; records that go the same way one after the other are copied together. */
export function bodiesOf({ records }: ProducedFrame, { parts, partOf }: RoutedFrame): Uint8Array[] {
  if (!partOf) return [records]
  const source = Buffer.from(records.buffer, records.byteOffset, records.length)
  const bodies = parts.map(({ size }) => Buffer.allocUnsafeSlow(size))
  const ends = parts.map(() => 0)
  let from = 0
  let at = 0
  for (let i = 0; i < partOf.length; i++) {
    const part = partOf[i]!
    at += 4 + getU32(records, at)
    if (partOf[i + 1] === part) continue
    source.copy(bodies[part]!, ends[part]!, from, at)
    ends[part]! += at - from
    from = at
  }
  return bodies
}

function tooLarge(entry: number, valueBytes: number, { maxMessageBytes, topic }: RecordRules): EntryError {
  const detail = `the value has ${valueBytes} bytes, topic ${topic} takes at most ${maxMessageBytes}`
  return new EntryError(entry, new TidingsError('message_too_large', detail))
}

function keyed(entry: number): EntryError {
  const detail = 'a message with an Idempotency-Key cannot be part of a numbered frame: publish it by itself'
  return new EntryError(entry, new TidingsError('invalid_argument', detail))
}
