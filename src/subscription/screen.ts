/**
 * Which records a subscription passes over: a decision. A record that is passed over is not delivered
 * and counts as acknowledged. Called by the lane when a record's turn has come, never before.
 */
import { recordExpiresAt } from '@tidings/sdk/protocol'
import { HAS_EXPIRY, type RecordBatch } from '../log/record-batch.ts'

/** Why a record is not delivered. */
export type PassedOver = 'expired'

/** Whether any record of the batch may have to be passed over: false spares the look at each. */
export function mayPassOver(batch: RecordBatch): boolean {
  return (batch.attributes & HAS_EXPIRY) !== 0
}

/** Null: it is to be delivered. `wall` is the time now, milliseconds since the epoch. */
export function passedOver(batch: RecordBatch, offset: number, wall: number): PassedOver | null {
  const expiresAt = recordExpiresAt(batch.bytes, batch.positionOf(offset))
  return expiresAt !== null && expiresAt <= wall ? 'expired' : null
}
