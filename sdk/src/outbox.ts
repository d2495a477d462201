/**
 * The publishes of one topic that are not settled, in order, as the frames in which they go: which frame is next,
 * under which number, and what becomes of it when it is answered, refused, or the connection is lost. A decision;
 * publisher.ts owns clock and network. The rules of numbers are docs/PROTOCOL.md's:
 *
 * A frame that may be stored is frozen: it goes again as it was, before anything new. One of which nothing is stored
 * gets its number anew, so that none is left out; what was sent behind it is refused too and goes again. Keyed
 * frames travel alone, since they have no place in the order of numbers.
 */

import { TidingsError } from './protocol/errors.ts'
import * as LIMITS from './protocol/limits.ts'
import type { PublishReceipt } from './publish-answer.ts'
import { type Draft, draftRoom, isKeyed } from './publish-entry.ts'
import { PublishError } from './publish-error.ts'
import { type Pending, Shipment } from './shipment.ts'

export interface OutboxLimits {
  /** Bytes of records held, those under way included; one that is larger alone is let in when nothing is held. */
  bufferBytes: number
  batchCount: number
  batchBytes: number
}

export interface OutboxNames {
  /** A name for a producer that nobody else has: from 1 to 2^53 - 1. */
  producerId(): number
  idempotencyKey(): string
}

/** What a refusal says, beside its error. */
export interface Blame {
  entry: number | null
  mayBeStored: boolean
}

export class Outbox {
  readonly #limits: OutboxLimits
  readonly #names: OutboxNames
  producerId: number
  /** Those under way come first, but while `#isHalted`. */
  #shipments: Shipment[] = []
  #flying = 0
  /** One was refused: nothing is sent until those behind it are answered. */
  #isHalted = false
  /** The numbers of this producer are of no use any more. */
  #isSpent = false
  /** A number that was refused for what is in its frame: nothing behind it is stored. */
  #gapAt = Number.POSITIVE_INFINITY
  #nextSequence = 0
  #nextKeyed = 0
  /** Of frames that were stored: the next ones find pages there that are warm. */
  readonly #room: Uint8Array[] = []
  /** The highest number of which the broker said that it is stored. */
  #lastStored = -1
  #bytes = 0
  /** No unsettled entry is due before it. */
  #dueAt = Number.POSITIVE_INFINITY

  constructor(limits: OutboxLimits, names: OutboxNames) {
    this.#limits = limits
    this.#names = names
    this.producerId = names.producerId()
  }

  get heldBytes(): number {
    return this.#bytes
  }

  get isEmpty(): boolean {
    return this.#bytes === 0
  }

  /** A lower bound for the first deadline, infinite when nothing is held. */
  get dueAt(): number {
    return this.isEmpty ? Number.POSITIVE_INFINITY : this.#dueAt
  }

  /** Whether a refusal now is the first one, and not that of a frame behind it. */
  get isFirstRefused(): boolean {
    return !this.#isHalted
  }

  hasRoom(bytes: number): boolean {
    return this.#bytes === 0 || this.#bytes + bytes <= this.#limits.bufferBytes
  }

  /** Adds a publish behind all others. Throws what is wrong with it; `isTry`: also `overloaded` where it has no room. */
  add(draft: Draft, entry: Pending, isTry: boolean): void {
    const shipment = this.#shipmentFor(draft)
    entry.bytes = shipment.write(draft)
    if (isTry && !this.hasRoom(entry.bytes)) {
      if (shipment.entries.length === 0) this.#shipments.pop()
      throw full(this.#bytes)
    }
    shipment.add(entry)
    this.#bytes += entry.bytes
    if (entry.deadline < this.#dueAt) this.#dueAt = entry.deadline
  }

  /** The next frame, which is under way from now on; null while there is none, or it has to wait. */
  next(partitionCount: number): Shipment | null {
    while (!this.#isHalted) {
      const shipment = this.#shipments[this.#flying]
      if (!shipment) return null
      if (!shipment.isFrozen) shipment.shake()
      if (shipment.entries.length === 0) {
        this.#shipments.splice(this.#flying, 1)
        continue
      }
      if (this.#flying > 0 && !this.#mayJoin(shipment)) return null
      if (shipment.isKeyed) shipment.sequence = this.#nextKeyed++
      else if (!shipment.isFrozen) {
        shipment.sequence = this.#nextSequence++
        shipment.partitionCount = partitionCount
      }
      shipment.isFlying = true
      this.#flying++
      return shipment
    }
    return null
  }

  /** The frame under way that an answer is about; undefined where the broker answers what was not asked. */
  find(isKeyedFrame: boolean, sequence: number): Shipment | undefined {
    return this.#shipments.find((one) => one.isFlying && one.isKeyed === isKeyedFrame && one.sequence === sequence)
  }

  /** The frame is stored; one receipt for each of its entries. */
  stored(shipment: Shipment, receipts: readonly PublishReceipt[]): void {
    // One that was sent twice may still lie in the socket that is lost.
    const { room } = shipment
    if (!shipment.isFrozen && room.length <= ROOM_BYTES_MAX && this.#room.length < SMALL_FRAMES) this.#room.push(room)
    if (!shipment.isKeyed) this.#lastStored = Math.max(this.#lastStored, shipment.sequence)
    this.#remove(shipment)
    const { entries } = shipment
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[i]!
      if (entry.isSettled) continue
      this.#settled(shipment, entry)
      entry.resolve(receipts[i]!)
    }
    this.#landed()
  }

  /** The frame was refused, and is to be sent again, without the entry that is to blame where there is one. */
  returned(shipment: Shipment, error: TidingsError, { entry, mayBeStored }: Blame): void {
    shipment.lastError = error
    shipment.isFlying = false
    this.#flying--
    this.#isHalted = true
    const culprit = entry === null ? undefined : shipment.entries[entry]
    if (culprit) {
      this.#leaveGap(shipment)
      if (!culprit.isSettled) this.#fail(shipment, culprit, error, shipment.isFrozen)
      shipment.shake()
      if (shipment.entries.length === 0) this.#remove(shipment)
    }
    // A number below one that is stored cannot be given to another frame.
    if (mayBeStored || (!shipment.isKeyed && shipment.sequence < this.#lastStored)) shipment.isFrozen = true
    this.#landed()
  }

  /** The frame was refused for good. */
  refused(shipment: Shipment, error: TidingsError, mayBeStored: boolean): void {
    // An internal error is no promise that nothing was stored.
    const isInDoubt = mayBeStored || shipment.isFrozen || error.code === 'internal'
    if (!isInDoubt) this.#leaveGap(shipment)
    else if (!shipment.isKeyed) this.#isSpent = true
    this.#isHalted = true
    this.#remove(shipment)
    for (const entry of shipment.entries) if (!entry.isSettled) this.#fail(shipment, entry, error, isInDoubt)
    this.#landed()
  }

  /** Nobody will say what became of the frame. */
  lost(shipment: Shipment, error: TidingsError): void {
    this.refused(shipment, new TidingsError('outcome_unknown', UNKNOWN, { cause: error }), true)
  }

  /** The connection is gone, and with it the answers that were due. */
  left(error: TidingsError): void {
    const flying = this.#shipments.filter(({ isFlying }) => isFlying)
    for (const shipment of flying) {
      if (this.#isSpent && !shipment.isKeyed) {
        this.lost(shipment, error)
        continue
      }
      shipment.isFlying = false
      shipment.isFrozen ||= shipment.isKeyed || shipment.sequence < this.#gapAt
      shipment.lastError = error
      this.#flying--
    }
    // What was refused and goes again before one that is in doubt keeps its number too.
    const last = this.#shipments.findLastIndex((one) => one.isFrozen && !one.isKeyed)
    for (const shipment of this.#shipments.slice(0, last + 1)) shipment.isFrozen = true
    this.#landed()
    this.#forget()
  }

  /** Why nothing could be sent: told to those who wait in vain. */
  troubled(error: TidingsError): void {
    for (const shipment of this.#shipments) shipment.lastError = error
  }

  /** Fails all that is not settled. */
  failAll(error: TidingsError): void {
    for (const { shipment, entry } of this.#unsettled()) {
      this.#fail(shipment, entry, error, shipment.isFlying || shipment.isFrozen)
    }
    this.#forget()
  }

  /** Fails what is too late by now. */
  expire(now: number): void {
    this.#dueAt = Number.POSITIVE_INFINITY
    for (const { shipment, entry } of this.#unsettled()) {
      if (entry.deadline > now) this.#dueAt = Math.min(this.#dueAt, entry.deadline)
      else {
        const error = shipment.lastError ?? new TidingsError('unavailable', 'no broker answered in time')
        this.#giveUp(shipment, entry, error)
      }
    }
    this.#forget()
  }

  /** Its publisher wants it back. */
  abort(entry: Pending, cause: unknown): void {
    const { shipment } = entry
    if (!shipment || entry.isSettled) return
    this.#giveUp(shipment, entry, new TidingsError('aborted', 'the publish was taken back', { cause }))
    this.#forget()
  }

  /** The client ends. */
  abandon(): void {
    for (const { shipment, entry } of this.#unsettled()) {
      const detail = 'the client was closed before the broker had answered'
      this.#giveUp(shipment, entry, new TidingsError('aborted', detail))
    }
    this.#shipments = []
    this.#flying = 0
  }

  /**
   * Whether the frame may go while others are under way. One that is being stored and one that waits for the disk keep
   * the broker busy: beyond them only large ones go, so that small ones gather.
   */
  #mayJoin({ isKeyed: isAlone, isFrozen, size, entries }: Shipment): boolean {
    if (isAlone || this.#shipments[0]!.isKeyed || this.#flying >= LIMITS.publishWindow) return false
    return this.#flying < SMALL_FRAMES || isFrozen || size >= LARGE_BYTES || entries.length >= this.#limits.batchCount
  }

  #shipmentFor(draft: Draft): Shipment {
    const { batchCount, batchBytes } = this.#limits
    const needsKey = isKeyed(draft)
    let shipment = this.#shipments.at(-1)
    const isFit =
      shipment &&
      !shipment.isFlying &&
      !shipment.isFrozen &&
      (shipment.isKeyed || !needsKey) &&
      shipment.entries.length < batchCount &&
      shipment.size + draftRoom(draft) <= batchBytes
    if (!shipment || !isFit) {
      shipment = new Shipment(needsKey, this.#room.pop() ?? new Uint8Array(FIRST_BYTES))
      this.#shipments.push(shipment)
    }
    // Without a key it could not be repeated.
    if (shipment.isKeyed) draft.idempotencyKey ??= this.#names.idempotencyKey()
    return shipment
  }

  *#unsettled(): Generator<{ shipment: Shipment; entry: Pending }> {
    for (const shipment of this.#shipments) {
      for (const entry of shipment.entries) if (!entry.isSettled) yield { shipment, entry }
    }
  }

  /** Once nothing is under way, numbers are given anew, from the first that is free. */
  #landed(): void {
    if (this.#flying > 0) return
    this.#isHalted = false
    this.#gapAt = Number.POSITIVE_INFINITY
    if (this.#isSpent) return this.#renew()
    let last = this.#lastStored
    for (const shipment of this.#shipments)
      if (shipment.isFrozen && !shipment.isKeyed) last = Math.max(last, shipment.sequence)
    this.#nextSequence = last + 1
  }

  #leaveGap({ isKeyed: hasNoNumber, sequence }: Shipment): void {
    if (!hasNoNumber) this.#gapAt = Math.min(this.#gapAt, sequence)
  }

  /** Another producer: nothing that this one sent, and that is still here, is stored. */
  #renew(): void {
    this.#isSpent = false
    this.producerId = this.#names.producerId()
    this.#nextSequence = 0
    this.#lastStored = -1
    for (const shipment of this.#shipments) shipment.isFrozen &&= shipment.isKeyed
  }

  /** Drops frames that nobody waits for; sent again, they would come as a surprise. */
  #forget(): void {
    if (this.#flying > 0 || this.#shipments.some((one) => one.isFrozen && !one.isDead)) return
    const dead = this.#shipments.filter(({ isDead }) => isDead)
    this.#shipments = this.#shipments.filter(({ isDead }) => !isDead)
    if (dead.some((one) => one.isFrozen && !one.isKeyed)) this.#renew()
  }

  /** Ends the wait for it. What was sent may be stored all the same. */
  #giveUp(shipment: Shipment, entry: Pending, error: TidingsError): void {
    if (!shipment.isFlying && !shipment.isFrozen) return this.#fail(shipment, entry, error, false)
    this.#fail(shipment, entry, new TidingsError('outcome_unknown', UNKNOWN, { cause: error }), true)
  }

  #fail(shipment: Shipment, entry: Pending, error: TidingsError, mayBeStored: boolean): void {
    this.#settled(shipment, entry)
    entry.reject(new PublishError(error, mayBeStored ? 'unknown' : 'not_stored', entry.idempotencyKey))
  }

  #settled(shipment: Shipment, entry: Pending): void {
    entry.isSettled = true
    entry.unlisten?.()
    shipment.settledCount++
    this.#bytes -= entry.bytes
  }

  #remove(shipment: Shipment): void {
    if (shipment.isFlying) this.#flying--
    shipment.isFlying = false
    const at = this.#shipments.indexOf(shipment)
    if (at !== -1) this.#shipments.splice(at, 1)
  }
}

/** Frames that may be under way whatever their size, and the size from which on more may. */
const SMALL_FRAMES = 2
const LARGE_BYTES = 65_536
const FIRST_BYTES = 1024
/** Room of larger frames is given back. */
const ROOM_BYTES_MAX = 1_048_576

const UNKNOWN = 'the publish was sent and may or may not be stored: no answer came in time'

function full(heldBytes: number): TidingsError {
  return new TidingsError('overloaded', `${heldBytes} bytes wait to be published, and the buffer is full: try later`)
}
