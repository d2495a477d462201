/**
 * `tidings.binary.v1` on a subscription's stream: runs of consecutive offsets leave as one frame whose records are the
 * bytes of their batch, not copied; requests name ranges. Knows which topics its connection has been told of.
 * session.ts speaks it; docs/PROTOCOL.md describes it.
 */
import { Buffer } from 'node:buffer'
import {
  type ConsumeRequest,
  consumeRequestNumber,
  encodeConsumeEvent,
  type FrameRange,
  isPattern,
  LIMITS,
  MESSAGES_HEADER_BYTES,
  putMessagesHeader,
  type RequestTag,
  readConsumeRequest,
  recordEnd,
  TidingsError,
} from '@tidings/sdk/protocol'
import type { RecordBatch } from '../log/record-batch.ts'
import type { Delivery, Gap, MessageSpan, Subscription } from '../subscription/subscription.ts'
import type { Dialect, Outlet, Request } from './dialect.ts'

/**
 * A frame ends before it has more records than this holds, unless it has one only. Node reads 64 KiB at a time: what is
 * longer is copied together by whoever receives it, into memory that no cache has.
 */
const FRAME_BYTES = 32_768

/** How many records from `from` on, one at least and not all of them, end at or before the position. */
function fitting(batch: RecordBatch, from: number, to: number, position: number): number {
  let low = 1
  let high = to - from - 1
  while (low < high) {
    const middle = (low + high + 1) >> 1
    if (batch.positionOf(from + middle) <= position) low = middle
    else high = middle - 1
  }
  return low
}

export class BinaryDialect implements Dialect {
  readonly #names: string[] = []
  readonly #numbers = new Map<string, number>()
  /** The topic used last, which is nearly always the next one. */
  #lastName = ''
  #lastNumber = -1

  read(out: Outlet, data: string | Uint8Array): Request | null {
    if (typeof data === 'string') throw new TidingsError('invalid_argument', 'this protocol has binary frames only')
    const frame = readConsumeRequest(data)
    if (frame.type !== 'name') return this.#request(frame)
    // Whether there is such a topic shows when something is said about its messages.
    this.#numberOf(out, frame.name)
    return null
  }

  requestOf(_thrown: unknown, data: string | Uint8Array): RequestTag | undefined {
    return typeof data === 'string' ? undefined : consumeRequestNumber(data) || undefined
  }

  welcome(out: Outlet, { topic, settings }: Subscription, prefetch: number): void {
    const { type, ackDeadlineMs, maxUnacked, deadLetter } = settings
    out.send(
      encodeConsumeEvent({
        type: 'welcome',
        subscriptionType: type,
        isPattern: isPattern(topic),
        ackDeadlineMs,
        prefetch,
        maxUnacked,
        maxDeliveries: deadLetter?.maxDeliveries ?? null,
      }),
    )
    if (!isPattern(topic)) this.#numberOf(out, topic)
  }

  messages(out: Outlet, delivery: Delivery, from: number): number {
    const { batch, partition, attempt, to } = delivery
    const topic = this.#numberOf(out, delivery.topic)
    const start = from === batch.baseOffset ? batch.recordsAt : batch.positionOf(from)
    const { length } = batch.bytes
    let end = to
    let position = to === batch.nextOffset ? length : recordEnd(batch.bytes, batch.positionOf(to - 1), length)
    if (position - start > FRAME_BYTES && to - from > 1) {
      end = from + fitting(batch, from, to, start + FRAME_BYTES)
      position = batch.positionOf(end)
    }
    const head = Buffer.allocUnsafe(MESSAGES_HEADER_BYTES)
    const { timestamp } = batch
    putMessagesHeader(head, 0, { topic, partition, baseOffset: from, timestamp, attempt }, end - from)
    out.sendParts(head, batch.bytes.subarray(start, position))
    return end
  }

  gap(out: Outlet, gap: Gap): void {
    const { partition, from, to } = gap
    // A gap's end is inclusive, a range's is not.
    out.send(encodeConsumeEvent({ type: 'gap', topic: this.#numberOf(out, gap.topic), partition, from, to: to + 1 }))
  }

  acked(out: Outlet, request: RequestTag, acked: readonly MessageSpan[]): void {
    const ranges = acked.map(({ topic = '', partition, offset, to = offset + 1 }) => ({
      topic: this.#numbers.get(topic) ?? 0,
      partition,
      from: offset,
      to,
    }))
    const part = ranges.slice(0, LIMITS.rangesPerFrame)
    out.send(encodeConsumeEvent({ type: 'acked', request: request as number, ranges: part }))
  }

  error(out: Outlet, { code, message }: TidingsError, request: RequestTag | undefined): void {
    out.send(encodeConsumeEvent({ type: 'error', request: (request as number) ?? 0, code, detail: message }))
  }

  #request(frame: Exclude<ConsumeRequest, { type: 'name' }>): Request {
    const { type } = frame
    const tagged = frame.request === 0 ? {} : { request: frame.request }
    switch (type) {
      case 'ack':
      case 'release':
        return { type, ids: this.#spans(frame.ranges), ...tagged }
      case 'nack': {
        const { delayMs, reason } = frame
        const delay = delayMs === undefined ? {} : { delayMs }
        return {
          type,
          ids: this.#spans(frame.ranges),
          ...delay,
          ...(reason === undefined ? {} : { reason }),
          ...tagged,
        }
      }
      case 'reject': {
        const { reason } = frame
        return { type, ids: this.#spans(frame.ranges), ...(reason === undefined ? {} : { reason }), ...tagged }
      }
      case 'extend':
        return { type, ids: this.#spans(frame.ranges), ms: frame.ms, ...tagged }
      case 'ack_up_to': {
        const { partition, offset } = frame
        const topic = this.#names[frame.topic]
        // What was never told to this connection cannot have come over it.
        if (topic === undefined) throw new TidingsError('invalid_argument', `there is no topic ${frame.topic} here`)
        return { type: 'ack', upTo: { topic, partition, offset }, ...tagged }
      }
      default:
        return { type, ...tagged }
    }
  }

  /** Ranges of topics that this connection was never told of name nothing that lies with it. */
  #spans(ranges: readonly FrameRange[]): MessageSpan[] {
    const spans: MessageSpan[] = []
    for (const { topic: number, partition, from, to } of ranges) {
      const topic = this.#names[number]
      if (topic !== undefined) spans.push({ topic, partition, offset: from, to })
    }
    return spans
  }

  #numberOf(out: Outlet, name: string): number {
    if (name === this.#lastName) return this.#lastNumber
    let number = this.#numbers.get(name)
    if (number === undefined) {
      if (this.#names.length >= LIMITS.topicsPerConnection) out.renew('too many topics came over this connection')
      number = this.#names.push(name) - 1
      this.#numbers.set(name, number)
      out.send(encodeConsumeEvent({ type: 'topic', topic: number, name }))
    }
    this.#lastName = name
    this.#lastNumber = number
    return number
  }
}
