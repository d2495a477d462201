/**
 * What may go out now, message by message, where keys have an order: to each receiver what its keys
 * have waiting, then new messages, passing over those that must wait. A decision over its lane's batches;
 * `range-staging.ts` is the one for subscriptions that know no keys.
 *
 * Looking ahead is bounded by how many messages may be unsettled, and ends when nobody can take
 * anything. A pass looks at so many messages at most, and comes again for more.
 */
import { murmur2, recordKey } from '@tidings/sdk/protocol'
import type { RecordBatch } from '../log/record-batch.ts'
import type { Receiver } from './consumer.ts'
import type { KeyLedger } from './key-ledger.ts'
import { slotOf } from './key-slots.ts'
import { ANYBODY } from './ready-keys.ts'
import { replacedBatch } from './replacement.ts'
import type { Staging, StagingLane } from './staging.ts'

/** Messages that one pass looks at. */
const LOOKS = 8192

export class KeyStaging implements Staging {
  readonly #lane: StagingLane
  readonly #ledger: KeyLedger
  /** Who can take more, in this pass. */
  #open: Set<Receiver> = new Set()
  #looks = 0
  /** In order: what waits at `next`. It is not read again only to see that it still does. */
  #waiting: { offset: number; key: string | null } | null = null

  constructor(lane: StagingLane, ledger: KeyLedger) {
    this.#lane = lane
    this.#ledger = ledger
  }

  stageAll(room: number): void {
    const limit = this.#ledger.unsettled + room
    this.#looks = LOOKS
    if (!this.#learn()) return
    this.#open = new Set(this.#lane.host.receivers.filter((receiver) => receiver.credit() > 0))
    this.#ledger.refresh()
    for (const receiver of this.#open) this.#stageOf(receiver)
    this.#stageOf(ANYBODY)
    this.#lookAhead(limit)
  }

  /** Tells the ledger the keys that a restart has left it without; false while some are missing. */
  #learn(): boolean {
    const { shelf } = this.#lane
    for (let run = this.#ledger.unread; run; run = this.#ledger.unread) {
      const offset = run.from
      const batch = shelf.batchAt(offset)
      if (!batch || this.#isTired()) return false
      // What was looked at before a restart is screened when it goes out, not here.
      if (!batch.has(offset)) this.#skip(offset)
      else {
        const { key, slot } = keyAt(batch, offset)
        this.#ledger.learn(offset, key, slot)
      }
    }
    return true
  }

  /** Messages that have been looked at before and may go out now. */
  #stageOf(group: object): void {
    for (let message = this.#ledger.first(group); message; message = this.#ledger.first(group)) {
      const receiver = this.#receiverOf(group)
      if (!receiver) return
      const { from } = message
      if (message.attempts === 0 && this.#lane.host.screen.isHeld) return
      const batch = this.#lane.shelf.batchAt(from)
      if (!batch) return
      const replacement = this.#ledger.replacementOf(from)
      const fate = replacement ? 'goes' : this.#screen(batch, from, message.attempts + 1)
      if (fate === 'stop') return
      if (fate === 'passed') continue
      this.#ledger.lease(receiver, message)
      this.#put(receiver, replacement ? replacedBatch(batch, from, replacement) : batch, from, message.attempts)
    }
  }

  #lookAhead(limit: number): void {
    const { shelf, partition, cursor, host } = this.#lane
    const ledger = this.#ledger
    const { ordered } = ledger.policy
    while (this.#open.size > 0 && ledger.next < partition.highWatermark && ledger.unsettled < limit) {
      const offset = ledger.next
      if (this.#waiting?.offset === offset && this.#waits(this.#waiting.key)) return
      this.#waiting = null
      if (host.screen.isHeld) return
      const batch = shelf.batchAt(offset)
      if (!batch || this.#isTired()) return
      if (!batch.has(offset)) {
        this.#skip(offset)
        continue
      }
      const { key, slot } = keyAt(batch, offset)
      // In order nothing goes past what has to wait, unless it waits for a parked key.
      if (ordered && this.#waits(key)) {
        this.#waiting = { offset, key }
        return
      }
      const fate = this.#screen(batch, offset, 1)
      if (fate === 'stop') return
      if (fate === 'passed') continue
      const queue = ledger.queueOf(key, slot)
      const group = ledger.groupOf(queue)
      const receiver = group && this.#receiverOf(group)
      if (receiver) {
        ledger.leaseNext(receiver, queue, key)
        this.#put(receiver, batch, offset, 1)
      } else {
        ledger.passOver(queue, key)
        cursor.touch('lazy')
      }
    }
  }

  /** Where the order is that of offsets: the next message cannot go out, and is not for a parked key. */
  #waits(key: string | null): boolean {
    const queue = this.#ledger.queueOf(key, -1)
    const group = this.#ledger.groupOf(queue)
    return queue.parked === 0 && !(group && this.#receiverOf(group))
  }

  /** Who of the group gets the next message, or null when nobody can take it. */
  #receiverOf(group: object): Receiver | null {
    if (group !== ANYBODY) return this.#open.has(group as Receiver) ? (group as Receiver) : null
    const { dispatch, receivers, settings } = this.#lane.host
    return this.#open.size === 0 ? null : dispatch.choose(settings.type, settings.dispatch, receivers, 1)
  }

  #put(receiver: Receiver, batch: RecordBatch, offset: number, attempt: number): void {
    this.#lane.put(receiver, batch, offset, offset + 1, attempt)
    if (receiver.credit() <= 0) this.#open.delete(receiver)
  }

  /** Skips the message if it is to be passed over. `stop`: this pass may not look at more. */
  #screen(batch: RecordBatch, offset: number, attempt: number): 'goes' | 'passed' | 'stop' {
    const { topic, host } = this.#lane
    const { screen } = host
    if (!screen.isNeeded(batch, attempt)) return 'goes'
    if (screen.isExhausted) return 'stop'
    if (screen.verdict(topic, batch, offset, attempt) === null) return 'goes'
    this.#skip(offset)
    return 'passed'
  }

  #skip(offset: number): void {
    this.#ledger.skip(offset, offset + 1)
    this.#lane.cursor.touch('lazy')
  }

  /** Enough for one pass: the rest comes in the next. */
  #isTired(): boolean {
    if (this.#looks-- > 0) return false
    this.#lane.again()
    return true
  }
}

/** The key of a record, its bytes one character each (what tells keys apart), and its slot. */
function keyAt(batch: RecordBatch, offset: number): { key: string | null; slot: number } {
  const { bytes } = batch
  const key = recordKey(bytes, batch.positionOf(offset))
  if (!key) return { key: null, slot: -1 }
  const from = key.byteOffset - bytes.byteOffset
  return { key: bytes.toString('latin1', from, from + key.length), slot: slotOf(murmur2(key)) }
}
