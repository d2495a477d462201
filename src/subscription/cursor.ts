/**
 * One subscription's place in one partition, as its store keeps it: the ledger, and what waits for the
 * ledger's changes to be on disk. Deliveries wait until the lease is written, confirmed
 * acknowledgements until it is synced.
 *
 * The lane owns it (it serves the partition), the store builds records of it.
 */
import { TidingsError } from '@tidings/sdk/protocol'
import type { Urgency } from '../partition/commit-queue.ts'
import { AckLedger } from './ack-ledger.ts'
import type { KeyPolicy } from './key-book.ts'
import { KeyLedger } from './key-ledger.ts'
import type { Ledger, LedgerPolicy } from './ledger.ts'
import type { LedgerState } from './ledger-state.ts'
import type { KeyOwners } from './ready-keys.ts'

export type Confirm = (error: TidingsError | null) => void

/** A subscription as a person knows it. */
export interface Reader {
  subscription: string
  /** Where it follows one. */
  pattern?: string
}

/** What a cursor tells the lane that serves it. */
export interface CursorOwner {
  readonly reader: Reader
  /** Staged leases could not be written: nothing staged may go out. */
  refused(error: TidingsError): void
  /** Writing is worth another try. */
  resumed(): void
  /** The ledger changed. */
  touched(): void
}

/** What a cursor needs of its store. */
export interface CursorLog {
  /** Why nothing can be written at the moment. */
  readonly stalled: TidingsError | null
  touched(cursor: Cursor, urgency: Urgency): void
  soon(run: () => void): void
}

/** Called once, with whether the leases are written; if not they have been taken back. */
export type HandOver = (isWritten: boolean) => void

/** Confirmations that may wait for one sync; a client that asks for more is told to slow down. */
const CONFIRMS_MAX = 65_536

export class Cursor {
  readonly id: string
  owner: CursorOwner | null = null
  /** Has something that is in no record yet. */
  dirty = false
  /** The subscription is gone: nothing is written any more. */
  deleted = false
  /** The next record must be the whole state: there is none in the log that changes could stand on. */
  needsWhole = false
  /** Records taken and not synced yet. */
  unsynced = 0
  /** The floor that a restart would find at least. */
  durableFloor: number
  /** Called when what is dirty now is written, and when it is synced. */
  handOvers: HandOver[] = []
  confirms: Confirm[] = []
  /** Staged leases that wait for a sync: later ones must not overtake them. */
  #syncedStagings = 0
  readonly #log: CursorLog
  readonly #state: LedgerState
  #ledger: Ledger | null = null

  /** Times in the state are those of the ledger's clock. */
  constructor(log: CursorLog, id: string, state: LedgerState) {
    this.#log = log
    this.id = id
    this.#state = state
    this.durableFloor = Math.min(state.next, state.runs[0]?.from ?? state.next)
  }

  get stalled(): TidingsError | null {
    return this.#log.stalled
  }

  /** The ledger is made by whoever serves the cursor: before, nobody has said which order deliveries have. */
  ledger(policy: LedgerPolicy): AckLedger {
    return this.#open(new AckLedger(policy, this.state()))
  }

  /** The same where keys have an order. */
  keyLedger(policy: KeyPolicy, owners: KeyOwners): KeyLedger {
    return this.#open(new KeyLedger(policy, owners, this.state()))
  }

  #open<L extends Ledger>(ledger: L): L {
    // What changed in an earlier one and is in no record yet is in the state of this one.
    if (this.#ledger) this.needsWhole = true
    this.#ledger = ledger
    return ledger
  }

  /** Below it all is acknowledged, now and after a restart: a seek back lowers it before it is durable. */
  get keptFloor(): number {
    return this.#ledger ? Math.min(this.durableFloor, this.#ledger.floor) : this.durableFloor
  }

  get opened(): Ledger | null {
    return this.#ledger
  }

  /** The next record says everything; changes up to now need not be kept for it. */
  requireWhole(): void {
    this.needsWhole = true
    this.#ledger?.changes.requireWhole()
  }

  state(): LedgerState {
    return this.#ledger ? this.#ledger.state() : this.#state
  }

  /** The ledger changed. */
  touch(urgency: Urgency): void {
    this.owner?.touched()
    this.#log.touched(this, urgency)
  }

  /**
   * The ledger staged leases: calls back when their record is written, or, for another delivery of
   * something, synced. So a power cut can take a first attempt's record, never two attempts of one
   * message, and attempts go on rising. Hand-overs keep their order.
   */
  stage(handOver: HandOver, isRedelivery: boolean): void {
    if (!isRedelivery && this.#syncedStagings === 0) {
      this.handOvers.push(handOver)
      this.#log.touched(this, 'written')
      return
    }
    this.#syncedStagings++
    this.confirms.push((error) => {
      this.#syncedStagings--
      handOver(error === null)
    })
    this.#log.touched(this, 'durable')
  }

  /** Calls back, never before this call has ended, when all changes up to now are on stable storage. */
  confirm(confirm: Confirm): void {
    if (this.deleted || (!this.dirty && this.unsynced === 0)) this.#log.soon(() => confirm(null))
    else if (this.confirms.length >= CONFIRMS_MAX) {
      const error = new TidingsError('overloaded', 'too many acknowledgements wait for the disk; try again in a moment')
      this.#log.soon(() => confirm(error))
    } else {
      this.confirms.push(confirm)
      this.#log.touched(this, 'durable')
    }
  }

  /** Resolves when all changes up to now are on stable storage, rejects when they cannot be. */
  durable(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.confirm((error) => (error ? reject(error) : resolve()))
    })
  }
}
