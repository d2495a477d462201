/**
 * Idempotency keys that the broker itself gives to messages, told apart from every client's: a client's
 * are UTF-8, in which the first byte of these never occurs. Layout: 0xFF, one byte for the kind, the rest
 * as the kind says. They mark what is stored at most once whatever happens, and are found again in the
 * log after a crash; the window of clients' keys passes over them. The keys of dead letters and of redriven
 * copies are not of these: the window is to know them, so they are texts, and begin with BROKER_KEY_MARK.
 */
import { getU64, putU64 } from '@tidings/sdk/protocol'

const BROKER = 0xff
const SCHEDULED = 0x73
const SCHEDULED_KEY_BYTES = 10

export function isBrokerKey(key: Uint8Array): boolean {
  return key[0] === BROKER
}

/** The key of a scheduled message in the log of its partition. */
export function scheduledKey(id: number): Uint8Array {
  const key = new Uint8Array(SCHEDULED_KEY_BYTES)
  key[0] = BROKER
  key[1] = SCHEDULED
  putU64(key, 2, id)
  return key
}

/** The id of the scheduled message that a stored record was, or null when it was none. */
export function scheduledIdOf(key: Uint8Array): number | null {
  if (key.length !== SCHEDULED_KEY_BYTES || key[0] !== BROKER || key[1] !== SCHEDULED) return null
  return getU64(key, 2)
}
