/**
 * A subscription's settings as the broker tells them: order and deadlines go by those, since what this user asked for
 * counts only where it created the subscription. Called by consumer.ts after every opening.
 */
import type { Connector } from './connector.ts'
import type { HoldingSettings } from './holding.ts'
import { SUBSCRIPTION_TYPES } from './protocol/subscription.ts'

const ANSWER_MS = 5000

/** Null where the broker does not tell, or may not tell this user. */
export function askSettings(connector: Connector, path: string, done: (told: HoldingSettings | null) => void): void {
  const token = connector.credentials.peek()?.token
  connector.get(connector.endpoints.current + path, token, ANSWER_MS, (outcome) => {
    done(outcome.kind === 'answer' && outcome.status === 200 ? settingsIn(outcome.body) : null)
  })
}

function settingsIn(body: string): HoldingSettings | null {
  try {
    const { type, ackDeadlineMs } = JSON.parse(body) as HoldingSettings
    const isWhole = SUBSCRIPTION_TYPES.includes(type) && Number.isSafeInteger(ackDeadlineMs) && ackDeadlineMs > 0
    return isWhole ? { type, ackDeadlineMs } : null
  } catch {
    return null
  }
}
