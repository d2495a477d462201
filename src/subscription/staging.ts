/**
 * What a lane and the two ways to stage its messages need of each other: in ranges, and by key. Types only.
 */
import type { SubscriptionSettings } from '@tidings/sdk/protocol'
import type { Clock } from '../base/clock.ts'
import type { RecordBatch } from '../log/record-batch.ts'
import type { Partition } from '../partition/partition.ts'
import type { Receiver } from './consumer.ts'
import type { Cursor } from './cursor.ts'
import type { Dispatch } from './dispatch.ts'
import type { KeySlots } from './key-slots.ts'
import type { Screen } from './screen.ts'
import type { Shelf } from './shelf.ts'

/** What staging needs of the subscription. */
export interface StagingHost {
  readonly name: string
  readonly settings: SubscriptionSettings
  readonly clock: Clock
  /** Who may get messages now, in the order that the dispatch expects. */
  readonly receivers: readonly Receiver[]
  readonly dispatch: Dispatch
  /** Whose the keys are, where keys have an order. */
  readonly slots: KeySlots<Receiver>
  readonly screen: Screen
}

/** What staging needs of its lane. */
export interface StagingLane {
  readonly host: StagingHost
  readonly topic: string
  readonly partition: Partition
  readonly cursor: Cursor
  readonly shelf: Shelf
  /** [from, to) of the batch are leased to the receiver, and go out when that is written. */
  put(receiver: Receiver, batch: RecordBatch, from: number, to: number, attempt: number): void
  /** There is more to do than one pass should. */
  again(): void
}

export interface Staging {
  /** Stages whatever may go out now; `room` bounds how many messages more may be unsettled. */
  stageAll(room: number): void
}
