/**
 * Where one message of a key ledger stands, for a person who asks why it does not arrive. Pure, from what is
 * there anyway.
 */
import { type KeyBook, STAGED } from './key-book.ts'
import type { KeyQueue } from './key-queue.ts'
import type { Standing } from './ledger.ts'

export function standingOf(book: KeyBook, offset: number): Standing {
  if (offset >= book.next) return { state: 'not_reached' }
  const message = book.messages.get(offset)
  if (!message) return { state: 'acked' }
  const { state, attempts, deadline, holder, queue, failure } = message
  if (state === 'leased') {
    const isStaged = deadline === STAGED
    return { state: 'outstanding', holder: holder!, attempt: attempts, deadline, isStaged, failure }
  }
  if (state === 'doomed') return { state, attempts, failure }
  const parked = queue.parkedFirst
  if (parked && parked.from <= offset) {
    return { state: 'parked', attempts, blockedBy: parked === message ? null : parked.from, failure }
  }
  const blockedBy = queue.blockerOf(offset) ?? drainedBy(book, queue)
  return { state: 'waiting', attempts, notBefore: state === 'delayed' ? message.notBefore : 0, blockedBy, failure }
}

/** The lowest message of the key that lies with a former owner. */
function drainedBy(book: KeyBook, queue: KeyQueue): number | null {
  if (queue.leases === 0 || book.ready.groupOf(queue)) return null
  let lowest: number | null = null
  for (const { from, queue: other } of book.leased) {
    if (other === queue) lowest = Math.min(lowest ?? from, from)
  }
  return lowest
}
