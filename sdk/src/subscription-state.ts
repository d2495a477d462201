/** What the broker says about a subscription when it is asked: whether it has dead letters, and what is acknowledged. */
import type { AcknowledgedThrough } from './processed-store.ts'
import type { Ask } from './questions.ts'
import { subscriptionPath } from './subscribe-options.ts'

const ANSWER_MS = 5000

/** False where the broker cannot be asked: then nothing is put where it might be lost. */
export async function hasDeadLetters(ask: Ask, topic: string, name: string): Promise<boolean> {
  try {
    const told = await ask({ method: 'GET', path: subscriptionPath(topic, name), timeoutMs: 0 })
    const { deadLetter = null } = told as { deadLetter?: unknown }
    return deadLetter !== null
  } catch {
    return false
  }
}

/** By topic and partition. Rejects with a TidingsError. */
export async function acknowledgedThrough(ask: Ask, topic: string, name: string): Promise<AcknowledgedThrough[]> {
  const told = await ask({ method: 'GET', path: subscriptionPath(topic, name), timeoutMs: ANSWER_MS })
  const { state } = told as { state?: { cursors?: { topic?: string; partition: number; ackedThrough: number }[] } }
  return (state?.cursors ?? []).map(({ topic: named = topic, partition, ackedThrough }) => ({
    topic: named,
    partition,
    offset: ackedThrough,
  }))
}
