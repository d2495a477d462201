/**
 * What became of one message of a subscription, and why: from the ledger, from what is remembered of it, and
 * where that does not tell from the record itself, which is read once more. Nothing is searched.
 *
 * An acknowledged message leaves no trace but that: whether it was passed over is found out by asking the
 * screen again, as it is now.
 */
import { formatMessageId, type MessageId, TidingsError } from '@tidings/sdk/protocol'
import type { Clock } from '../base/clock.ts'
import { findBatch } from './batch-lookup.ts'
import { Consumer } from './consumer.ts'
import type { DeliveryMemory } from './delivery-memory.ts'
import { wallTime } from './explain.ts'
import type { MessageExplanation } from './explanation.ts'
import type { Lane } from './lane.ts'
import type { Failure, LeaseHolder, Standing } from './ledger.ts'
import type { Screen } from './screen.ts'

export interface Witness {
  readonly name: string
  readonly isPattern: boolean
  readonly clock: Clock
  readonly memory: DeliveryMemory
  readonly screen: Screen
  laneOf(id: MessageId): Lane | undefined
}

type Findings = Omit<MessageExplanation, 'id'>

/** Throws `invalid_argument`, `partition_not_found`, `offset_out_of_range`. */
export async function explainMessage(witness: Witness, id: MessageId): Promise<MessageExplanation> {
  if (witness.isPattern && id.topic === undefined) {
    throw new TidingsError('invalid_argument', 'ids of a pattern subscription are "<topic>/<partition>:<offset>"')
  }
  const lane = witness.laneOf(id)
  if (!lane) throw new TidingsError('partition_not_found', `the subscription reads no partition ${id.partition}`)
  const { startOffset, highWatermark } = lane.partition
  if (id.offset < startOffset || id.offset >= highWatermark) {
    const what = id.offset < startOffset ? 'is gone: retention removed it' : 'is not there yet'
    const range = `partition ${id.partition} holds ${startOffset} to ${highWatermark - 1}`
    throw new TidingsError('offset_out_of_range', `offset ${id.offset} ${what}; ${range}`)
  }
  const place = id.topic === undefined ? '' : `${id.topic}/`
  return { id: `${place}${formatMessageId(id.partition, id.offset)}`, ...(await findings(witness, lane, id.offset)) }
}

async function findings(witness: Witness, lane: Lane, offset: number): Promise<Findings> {
  const standing = lane.ledger.describe(offset)
  if (standing.state === 'acked') return acknowledged(witness, lane, offset)
  if (standing.state === 'not_reached') {
    const before = lane.ledger.next
    return { state: 'not_reached', reason: `Deliveries have come to offset ${before}; ask why the subscription waits.` }
  }
  const attempts = standing.state === 'outstanding' ? standing.attempt : standing.attempts
  return {
    ...unsettled(witness, lane, standing),
    ...(attempts > 0 ? { attempt: attempts } : {}),
    ...lastFailure(witness, lane, offset, standing.failure),
  }
}

type Unsettled = Exclude<Standing, { state: 'acked' | 'not_reached' }>

function unsettled({ clock, isPattern }: Witness, lane: Lane, standing: Unsettled): Findings {
  const idOf = (offset: number): string =>
    `${isPattern ? `${lane.topic}/` : ''}${formatMessageId(lane.partition.number, offset)}`
  switch (standing.state) {
    case 'outstanding': {
      const consumer = nameOf(standing.holder)
      if (standing.isStaged) return { state: 'outstanding', consumer, reason: 'It is on its way to the consumer.' }
      const deadline = wallTime(clock, standing.deadline)
      return { state: 'outstanding', consumer, deadline, reason: 'The consumer has it and has not acknowledged it.' }
    }
    case 'doomed': {
      const { failure } = lane.deadLetters
      const why = failure ? `its dead letter cannot be written: ${failure.message}` : 'its dead letter is being written'
      return { state: 'waiting', reason: `It is not delivered any more: ${why}.` }
    }
    case 'parked': {
      if (standing.blockedBy === null) {
        return { state: 'parked', reason: 'Its attempts are used up, and its key is parked until somebody decides.' }
      }
      const blockedBy = idOf(standing.blockedBy)
      return { state: 'parked', blockedBy, reason: `Its key is parked: ${blockedBy}, before it, failed too often.` }
    }
    case 'waiting': {
      const nextAttemptAt = standing.notBefore > 0 ? { nextAttemptAt: wallTime(clock, standing.notBefore) } : {}
      if (standing.blockedBy !== null) {
        const blockedBy = idOf(standing.blockedBy)
        return { state: 'waiting', ...nextAttemptAt, blockedBy, reason: `${blockedBy} must be settled before it.` }
      }
      const reason = standing.notBefore > 0 ? 'It failed, and waits for its next attempt.' : 'It goes out next.'
      return { state: 'waiting', ...nextAttemptAt, reason }
    }
  }
}

function lastFailure(
  { memory }: Witness,
  { topic, partition }: Lane,
  offset: number,
  kind: Failure | null,
): Pick<MessageExplanation, 'lastFailure'> {
  if (kind === null) return {}
  const reason = memory.reasonOf(topic, partition.number, offset)
  return { lastFailure: reason === null ? { kind } : { kind, reason } }
}

async function acknowledged({ screen, memory }: Witness, lane: Lane, offset: number): Promise<Findings> {
  const deadLetter = memory.buriedAt(lane.topic, lane.partition.number, offset)
  if (deadLetter) {
    return { state: 'dead_lettered', deadLetter, reason: `It was given up on: see ${deadLetter.topic}.` }
  }
  const batch = await findBatch(lane.partition, offset)
  if (!batch) return { state: 'acked', reason: 'It was acknowledged, or compaction removed it before its turn came.' }
  const why = screen.explain(lane.topic, batch, offset)
  if (why === 'expired')
    return { state: 'expired', reason: 'Its time to live has passed; it may have been acknowledged before.' }
  if (why === 'filtered') return { state: 'filtered', reason: 'The filter, as it is now, does not let it pass.' }
  if (why === 'addressed') return { state: 'filtered', reason: 'It was redriven to another subscription.' }
  return { state: 'acked', reason: 'It was acknowledged.' }
}

function nameOf(holder: LeaseHolder): string {
  return holder instanceof Consumer ? holder.port.name : 'a pull'
}
