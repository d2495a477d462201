/**
 * The frames of a topic's producers under way: lets each in when its turn has come, stores its parts, and answers it
 * once when the last of them is settled. A runner; what is remembered and decided is in producer-window.ts.
 *
 * Must stay true: where a frame has failed, even in one partition, no later frame of its producer is let in before
 * it came again, and those of them that were not being written yet fail with it. A repetition of a frame under
 * way hears the outcome of the first; of a frame that is there in part, what is missing is stored.
 */
import { TidingsError } from '@tidings/sdk/protocol'
import type { Clock } from '../base/clock.ts'
import type { AppendListener } from './append.ts'
import {
  bodiesOf,
  checkRules,
  type FrameName,
  type FramePart,
  type ProducedFrame,
  type RecordRules,
  type RoutedFrame,
  routeFrame,
} from './frame-routing.ts'
import type { LogPartition } from './partition.ts'
import { FRAMES_REMEMBERED, type FramePlace, type ProducerWindow, type StoredFrame } from './producer-window.ts'

export interface ProducedReceipt {
  /** Where the frame's records are: in each partition one after the other, in the order of the frame. */
  parts: { partition: number; baseOffset: number; timestamp: number; count: number }[]
  /** For each record the index of its part; null where there is one part. */
  partOf: Uint16Array | null
  /** It was there before, all of it. */
  duplicate: boolean
}

/**
 * With an error, `receipt` tells what of the frame is stored all the same, now or from a time before; without parts:
 * some of it may be. Absent: nothing is.
 */
export type ProduceDone = (error: TidingsError | null, receipt?: ProducedReceipt) => void

/** What the topic is to its producers. */
export interface ProducerTarget {
  readonly name: string
  readonly partitions: readonly LogPartition[]
  readonly rules: RecordRules
}

/** Connections that may wait for the outcome of one frame. */
const WAITING_MAX = 16

export class Producers {
  readonly #target: ProducerTarget
  readonly #window: ProducerWindow
  readonly #clock: Clock
  /** In the order in which they came, for each producer. */
  readonly #underWay: Map<number, FrameUnderWay[]> = new Map()

  constructor(target: ProducerTarget, window: ProducerWindow, clock: Clock) {
    this.#target = target
    this.#window = window
    this.#clock = clock
  }

  produce(frame: ProducedFrame, done: ProduceDone): void {
    try {
      this.#produce(frame, done)
    } catch (error) {
      const parts = this.#traces(frame)
      done(TidingsError.from(error), parts ? { parts, partOf: null, duplicate: true } : undefined)
    }
  }

  /** As Topic says. */
  turnAway(frame: FrameName): boolean {
    if (!isName(frame)) return false
    const { producerId, sequence } = frame
    const traces = this.#traces(frame)
    const now = this.#clock.monotonic()
    if (!traces && this.#window.order(producerId, sequence, now).kind === 'next') {
      this.#window.refused(producerId, sequence, now)
    }
    return traces !== null
  }

  /** What there is of a frame already; empty where nobody can tell. */
  #traces({ producerId, sequence }: FrameName): ProducedReceipt['parts'] | null {
    return this.#underWayAs(producerId, sequence) ? [] : this.#window.traces(producerId, sequence)
  }

  #underWayAs(producerId: number, sequence: number): FrameUnderWay | undefined {
    return this.#underWay.get(producerId)?.find((one) => one.sequence === sequence)
  }

  #produce(frame: ProducedFrame, done: ProduceDone): void {
    if (!isName(frame)) throw noName(frame)
    const { producerId, sequence } = frame
    const first = this.#underWayAs(producerId, sequence)
    if (first) return first.wait(done)
    const now = this.#clock.monotonic()
    const order = this.#window.order(producerId, sequence, now)
    if (order.kind === 'full') throw tooManyProducers()
    if (order.kind === 'early') throw comesFirst(sequence, order.awaits)
    try {
      this.#check(frame)
      if ((this.#underWay.get(producerId)?.length ?? 0) >= FRAMES_REMEMBERED) throw tooManyFrames()
      this.#take(frame, done, now)
    } catch (error) {
      if (order.kind === 'next') this.#window.refused(producerId, sequence, now)
      throw error
    }
  }

  #check({ partitionCount }: ProducedFrame): void {
    const { name, partitions } = this.#target
    if (partitionCount >= 1 && partitionCount <= partitions.length) return
    const detail = `topic ${name} has ${partitions.length} partitions, the frame was made for ${partitionCount}`
    throw new TidingsError('partition_not_found', detail)
  }

  #take(frame: ProducedFrame, done: ProduceDone, now: number): void {
    const { producerId, sequence } = frame
    const routed = routeFrame(frame)
    const places = routed.parts.map((part) => this.#place(frame, part))
    const missing = routed.parts.filter((_, i) => places[i] === null)
    const one = new FrameUnderWay(this, frame, routed, places, done)
    if (missing.length === 0) return one.settle()
    checkRules(frame, this.#target.rules)
    for (const { partition, size } of missing) this.#target.partitions[partition]!.admit(size)
    this.#window.taken(producerId, sequence, now)
    const underWay = this.#underWay.get(producerId)
    if (underWay) underWay.push(one)
    else this.#underWay.set(producerId, [one])
    one.submit(this.#target.partitions, frame)
  }

  /** Where the partition has this part of the frame; null: nowhere yet. Throws `conflict` where it must not be stored. */
  #place({ producerId, sequence }: ProducedFrame, { partition, count }: FramePart): StoredFrame | null {
    const place: FramePlace = this.#window.place(producerId, partition, sequence)
    const isPassed = (): boolean =>
      this.#underWay.get(producerId)?.some((one) => one.sequence > sequence && one.isBoundFor(partition)) ?? false
    if (place === 'new' && !isPassed()) return null
    if (place === 'new' || place === 'passed')
      throw conflict(sequence, 'later frames of its producer are stored: it would be out of order')
    if (place === 'forgotten') throw conflict(sequence, 'it is too far behind to tell whether it was stored')
    if (place.count === count) return place
    throw conflict(sequence, `it was stored with ${place.count} records for partition ${partition}, not ${count}`)
  }

  stored({ producerId, sequence }: FrameUnderWay, partition: number, stored: StoredFrame): void {
    this.#window.stored(producerId, partition, sequence, stored, this.#clock.monotonic())
  }

  /** A part has failed: what comes after the frame must not be stored before it. */
  failed(frame: FrameUnderWay, error: TidingsError): void {
    const { producerId, sequence } = frame
    this.#window.failed(producerId, sequence, this.#clock.monotonic())
    const detail = `frame ${sequence} of the producer, which comes first, has failed: ${error.message}`
    const later = this.#underWay.get(producerId)?.filter((one) => one.sequence > sequence) ?? []
    // What is given up before it was written is not stored, whatever becomes of the one before.
    const code = error.code === 'outcome_unknown' ? 'no_leader' : error.code
    for (const one of later) one.giveUp(new TidingsError(code, detail, { cause: error }))
  }

  ended(frame: FrameUnderWay): void {
    const underWay = this.#underWay.get(frame.producerId)!
    if (underWay.length === 1) this.#underWay.delete(frame.producerId)
    else underWay.splice(underWay.indexOf(frame), 1)
  }
}

/** One frame on its way, and who waits for it. */
class FrameUnderWay {
  readonly producerId: number
  readonly sequence: number
  readonly #producers: Producers
  readonly #routed: RoutedFrame
  /** Where each part is; null: not stored, or not yet. */
  readonly #places: (StoredFrame | null)[]
  readonly #done: ProduceDone
  /** Leadership was lost after some of it was written: with whoever leads next it may be stored or not. */
  #isInDoubt = false
  #waiting: ProduceDone[] | null = null
  #open: PartUnderWay[] = []
  #unsettled = 0
  #error: TidingsError | null = null

  constructor(
    producers: Producers,
    { producerId, sequence }: ProducedFrame,
    routed: RoutedFrame,
    places: (StoredFrame | null)[],
    done: ProduceDone,
  ) {
    this.#producers = producers
    this.producerId = producerId
    this.sequence = sequence
    this.#routed = routed
    this.#places = places
    this.#done = done
  }

  wait(done: ProduceDone): void {
    this.#waiting ??= []
    if (this.#waiting.length >= WAITING_MAX) {
      throw new TidingsError('overloaded', `frame ${this.sequence} is under way: wait for its answer`)
    }
    this.#waiting.push(done)
  }

  /** Whether a part of it may yet be stored there. */
  isBoundFor(partition: number): boolean {
    return this.#open.some(({ index, isGivenUp }) => !isGivenUp && this.#routed.parts[index]!.partition === partition)
  }

  submit(partitions: readonly LogPartition[], frame: ProducedFrame): void {
    const { producerId, sequence } = frame
    const { attributes } = this.#routed
    const bodies = bodiesOf(frame, this.#routed)
    this.#routed.parts.forEach((_, i) => {
      if (this.#places[i] === null) this.#open.push(new PartUnderWay(this, i))
    })
    this.#unsettled = this.#open.length
    for (const part of this.#open) {
      const { partition, count } = this.#routed.parts[part.index]!
      try {
        const records = { bytes: bodies[part.index]!, count, attributes, producer: { id: producerId, sequence } }
        partitions[partition]!.append(records, part)
      } catch (error) {
        part.failed(TidingsError.from(error))
      }
    }
  }

  stored(index: number, baseOffset: number, timestamp: number): void {
    const { partition, count } = this.#routed.parts[index]!
    const place = { baseOffset, count, timestamp }
    this.#places[index] = place
    this.#producers.stored(this, partition, place)
    this.#settled()
  }

  failed(error: TidingsError): void {
    this.#isInDoubt ||= error.code === 'outcome_unknown'
    if (this.#error === null) {
      this.#error = error
      this.#producers.failed(this, error)
    }
    this.#settled()
  }

  /** A frame before it has failed: what is not being written yet is not to be written. */
  giveUp(error: TidingsError): void {
    for (const part of this.#open) part.giveUp(error)
  }

  #settled(): void {
    this.#unsettled -= 1
    if (this.#unsettled > 0) return
    this.#producers.ended(this)
    this.#open = []
    this.settle(true)
  }

  /** Answers: all parts are stored, or have failed. */
  settle(isFirst = false): void {
    const { parts, partOf } = this.#routed
    const stored = parts.flatMap(({ partition }, i) => {
      const place = this.#places[i]
      return place ? [{ partition, ...place }] : []
    })
    const receipt = stored.length === 0 && !this.#isInDoubt ? undefined : { parts: stored, partOf, duplicate: !isFirst }
    this.#done(this.#error, receipt)
    for (const done of this.#waiting ?? []) done(this.#error, receipt && { ...receipt, duplicate: true })
  }
}

/** One partition's part of a frame. */
class PartUnderWay implements AppendListener {
  readonly index: number
  readonly #frame: FrameUnderWay
  #state: 'queued' | 'written' | 'given up' = 'queued'

  constructor(frame: FrameUnderWay, index: number) {
    this.#frame = frame
    this.index = index
  }

  get isGivenUp(): boolean {
    return this.#state === 'given up'
  }

  isWanted(): boolean {
    if (this.#state === 'given up') return false
    this.#state = 'written'
    return true
  }

  committed(baseOffset: number, timestamp: number): void {
    this.#frame.stored(this.index, baseOffset, timestamp)
  }

  failed(error: TidingsError): void {
    if (this.#state === 'given up') return
    this.#state = 'given up'
    this.#frame.failed(error)
  }

  giveUp(error: TidingsError): void {
    if (this.#state === 'queued') this.failed(error)
  }
}

function isName({ producerId, sequence }: FrameName): boolean {
  return Number.isSafeInteger(producerId) && producerId >= 1 && Number.isSafeInteger(sequence) && sequence >= 0
}

function noName({ producerId, sequence }: FrameName): TidingsError {
  return new TidingsError('invalid_argument', `producer ${producerId}, frame ${sequence}: not numbers of a frame`)
}

function comesFirst(sequence: number, awaits: number): TidingsError {
  const detail = `frame ${sequence} must wait for frame ${awaits} of its producer, which is not stored: repeat that first`
  return new TidingsError('overloaded', detail)
}

function conflict(sequence: number, why: string): TidingsError {
  return new TidingsError('conflict', `frame ${sequence}: ${why}. Go on with a new producer id`)
}

function tooManyFrames(): TidingsError {
  return new TidingsError('overloaded', `${FRAMES_REMEMBERED} frames of this producer are under way: wait for one`)
}

function tooManyProducers(): TidingsError {
  return new TidingsError('overloaded', 'as many producers as can be remembered published lately: try again later')
}
