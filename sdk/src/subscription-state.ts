/** What the broker says about a subscription when it is asked: whether it has dead letters. */
import type { Connector } from './connector.ts'
import { ask } from './request-answer.ts'
import { subscriptionPath } from './subscribe-options.ts'

/** False where the broker cannot be asked: then nothing is put where it might be lost. */
export async function hasDeadLetters(connector: Connector, topic: string, name: string): Promise<boolean> {
  try {
    const told = await ask(connector, { method: 'GET', path: subscriptionPath(topic, name), timeoutMs: 0 })
    const { deadLetter = null } = told as { deadLetter?: unknown }
    return deadLetter !== null
  } catch {
    return false
  }
}
