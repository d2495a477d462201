/**
 * What a topic remembers of its producers: for each the last frames that each partition has of it, and which number
 * must come next. It makes a repeated frame answer instead of storing, and keeps a later frame from hiding an
 * earlier one that was lost. A decision: synchronous, over plain arrays; rebuilt from the logs at start.
 *
 * Must stay true (D-IDEMP): the frames of a producer enter a partition in the order of their numbers. So one that is
 * behind the last there, and not among those remembered, is never stored: it would be out of order, or twice.
 * Times to remember are monotonic. Numbers are compared as the low 32 bits of them, which is what a batch header holds (RFC 1982).
 */

import type { RememberedAccount } from './remembered-budget.ts'

/** Frames of a producer that each partition remembers; as many may be under way at once. */
export const FRAMES_REMEMBERED = 8
/** Producers are remembered for this long at least, however short the window of Idempotency-Keys is. */
const PRODUCERS_MS = 300_000

/** Where a partition has a frame, or its part of one. */
export interface StoredFrame {
  baseOffset: number
  count: number
  /** Milliseconds since the epoch. */
  timestamp: number
}

/** What the order of a producer's frames says of one. */
export type FrameOrder =
  /** The one that is to come. */
  | { kind: 'next' }
  /** It was here before, or failed before: each partition knows what it has of it. */
  | { kind: 'earlier' }
  /** The frame with this number (its low 32 bits) must come first. */
  | { kind: 'early'; awaits: number }
  /** No more producers can be remembered. */
  | { kind: 'full' }

/** What a partition says of a frame: it has it; it is new; later ones are there; nobody can tell any more. */
export type FramePlace = StoredFrame | 'new' | 'passed' | 'forgotten'

/** Numbers of one frame in the flat array: sequence, base offset, count, timestamp. */
const WIDTH = 4

/** What a pair of a producer and a partition takes in memory at worst, and a producer by itself. */
const PAIR_BYTES = 512
/** Producers that one look at them forgets at most: many may fall due together. */
const FORGOTTEN_AT_ONCE = 1000

class Producer {
  /** The highest number that was taken. */
  last: number
  /** Numbers that were taken and not stored, ascending: the first of them must come again before any later one. */
  readonly failed: number[] = []
  /** Nothing came in this life of the broker: what was answered before may have been lost with a power cut. */
  isRecovered: boolean
  /** Monotonic milliseconds: a clock that is set anew must not make anybody forget. */
  usedAt: number
  /** For each partition its last frames, oldest first. */
  readonly frames: Map<number, number[]> = new Map()

  constructor(last: number, isRecovered: boolean, usedAt: number) {
    this.last = last
    this.isRecovered = isRecovered
    this.usedAt = usedAt
  }
}

export class ProducerWindow {
  /** A producer without a frame for so long is forgotten. */
  windowMs: number
  readonly #limit: number
  readonly #account: RememberedAccount
  /** In the order of use, but for those that a start found. */
  readonly #producers: Map<number, Producer> = new Map()
  /** Pairs of a producer and a partition that has frames of it. */
  #pairs = 0

  /** @param limit pairs of producer and partition that new producers may fill; known ones may fill as many again */
  constructor(windowMs: number, limit: number, account: RememberedAccount) {
    this.windowMs = windowMs
    this.#limit = limit
    this.#account = account
  }

  /** Producers that are remembered. */
  get size(): number {
    return this.#producers.size
  }

  order(producerId: number, sequence: number, now: number): FrameOrder {
    const producer = this.#find(producerId, now)
    const taken = this.#pairs + this.#producers.size
    const hasRoom = producer
      ? taken < this.#limit * 2 && this.#account.hasRoomForKnown(PAIR_BYTES)
      : taken < this.#limit && this.#account.hasRoom(PAIR_BYTES)
    if (!hasRoom) return { kind: 'full' }
    if (!producer) return { kind: 'next' }
    const low = sequence >>> 0
    const [failed] = producer.failed
    if (failed !== undefined && isAfter(low, failed)) return { kind: 'early', awaits: failed }
    if (!isAfter(low, producer.last)) return { kind: 'earlier' }
    const awaits = (producer.last + 1) >>> 0
    return low === awaits || producer.isRecovered ? { kind: 'next' } : { kind: 'early', awaits }
  }

  place(producerId: number, partition: number, sequence: number): FramePlace {
    const frames = this.#producers.get(producerId)?.frames.get(partition)
    if (!frames) return 'new'
    const low = sequence >>> 0
    if (isAfter(low, frames[frames.length - WIDTH]!)) return 'new'
    for (let at = 0; at < frames.length; at += WIDTH) {
      if (frames[at] !== low) continue
      return { baseOffset: frames[at + 1]!, count: frames[at + 2]!, timestamp: frames[at + 3]! }
    }
    return isAfter(low, frames[0]!) ? 'passed' : 'forgotten'
  }

  /** What partitions have of a frame; null: nothing, as far as anybody can tell; empty: nobody can tell. */
  traces(producerId: number, sequence: number): ({ partition: number } & StoredFrame)[] | null {
    const traces: ({ partition: number } & StoredFrame)[] = []
    let isForgotten = false
    for (const partition of this.#producers.get(producerId)?.frames.keys() ?? []) {
      const place = this.place(producerId, partition, sequence)
      if (typeof place === 'object') traces.push({ partition, ...place })
      else if (place === 'forgotten') isForgotten = true
    }
    return traces.length > 0 || isForgotten ? traces : null
  }

  /** The frame, or what was missing of it, is on its way. */
  taken(producerId: number, sequence: number, now: number): void {
    const low = sequence >>> 0
    const producer = this.#use(producerId, now) ?? this.#add(producerId, new Producer(low, false, now))
    producer.isRecovered = false
    if (isAfter(low, producer.last)) producer.last = low
    const at = producer.failed.indexOf(low)
    if (at !== -1) producer.failed.splice(at, 1)
  }

  /** Nothing of the frame was taken: it is still to come, and none after it before that. */
  refused(producerId: number, sequence: number, now: number): void {
    const before = (sequence - 1) >>> 0
    const producer = this.#use(producerId, now) ?? this.#add(producerId, new Producer(before, true, now))
    if (!producer.isRecovered) return
    producer.isRecovered = false
    if (isAfter(before, producer.last)) producer.last = before
  }

  /** The frame was taken and has failed, at least in part. */
  failed(producerId: number, sequence: number, now: number): void {
    const low = sequence >>> 0
    const producer = this.#use(producerId, now) ?? this.#add(producerId, new Producer(low, false, now))
    if (producer.failed.includes(low)) return
    producer.failed.push(low)
    producer.failed.sort((a, b) => (a - b) | 0)
  }

  /** A partition has the frame, or its part of it. */
  stored(producerId: number, partition: number, sequence: number, frame: StoredFrame, now: number): void {
    const low = sequence >>> 0
    const producer = this.#use(producerId, now) ?? this.#add(producerId, new Producer(low, false, now))
    this.#remember(producer, partition, low, frame)
  }

  /** The same as found in a log at start: in the order of the log for each partition, perhaps twice. */
  recover(producerId: number, partition: number, sequence: number, frame: StoredFrame, usedAt: number): void {
    const low = sequence >>> 0
    const known = this.#producers.get(producerId)
    const producer = known ?? this.#add(producerId, new Producer(low, true, usedAt))
    if (isAfter(low, producer.last)) producer.last = low
    producer.usedAt = Math.max(producer.usedAt, usedAt)
    this.#remember(producer, partition, low, frame)
  }

  #remember(producer: Producer, partition: number, low: number, frame: StoredFrame): void {
    let frames = producer.frames.get(partition)
    if (!frames) {
      frames = []
      producer.frames.set(partition, frames)
      this.#pairs += 1
      this.#account.take(PAIR_BYTES)
    }
    if (frames.length > 0 && !isAfter(low, frames[frames.length - WIDTH]!)) return
    if (frames.length === FRAMES_REMEMBERED * WIDTH) frames.splice(0, WIDTH)
    frames.push(low, frame.baseOffset, frame.count, frame.timestamp)
  }

  /** Forgets some of those that have not published for long, where there are any. */
  expire(now: number): void {
    let left = FORGOTTEN_AT_ONCE
    for (const [id, producer] of this.#producers) {
      if (now - producer.usedAt < this.windowMs || left-- === 0) break
      this.#forget(id, producer)
    }
  }

  #find(producerId: number, now: number): Producer | undefined {
    this.expire(now)
    const producer = this.#producers.get(producerId)
    if (!producer || now - producer.usedAt < this.windowMs) return producer
    this.#forget(producerId, producer)
    return undefined
  }

  #use(producerId: number, now: number): Producer | undefined {
    const producer = this.#producers.get(producerId)
    if (!producer) return undefined
    producer.usedAt = Math.max(producer.usedAt, now)
    this.#producers.delete(producerId)
    this.#producers.set(producerId, producer)
    return producer
  }

  #add(producerId: number, producer: Producer): Producer {
    this.#account.take(PAIR_BYTES)
    this.#producers.set(producerId, producer)
    return producer
  }

  #forget(producerId: number, producer: Producer): void {
    this.#producers.delete(producerId)
    this.#pairs -= producer.frames.size
    this.#account.take(-PAIR_BYTES * (producer.frames.size + 1))
  }
}

/** Whether one number comes after another, both as their low 32 bits. */
function isAfter(one: number, other: number): boolean {
  return ((one - other) | 0) > 0
}

/** How long what was stored is remembered at least, and so what a start must know of it. */
export function rememberedMs(deduplicationWindowMs: number): number {
  return Math.max(deduplicationWindowMs, PRODUCERS_MS)
}
