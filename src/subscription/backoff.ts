/** How long a failed message waits for its next delivery, where nobody named a time. Pure; both ledgers ask. */
import type { LedgerPolicy } from './ledger.ts'

/** Doubles with every attempt (1 is the first), within the bounds of the policy. */
export function backoffMs({ backoff: { minMs, maxMs } }: LedgerPolicy, attempt: number): number {
  return Math.min(maxMs, minMs * 2 ** (attempt - 1))
}
