/** What stands behind a topic: the client's parts of it, and the checks around them where a schema describes it. */

import type { Asking } from './asking.ts'
import type { Clock } from './platform.ts'
import type { PublishReceipt } from './publish-answer.ts'
import type { PublishOptions } from './publish-entry.ts'
import type { PublishGate } from './publish-gate.ts'
import type { Ask } from './questions.ts'
import type { AnswerChecks } from './replier.ts'
import type { Signals } from './signals.ts'
import type { SubscribeOptions } from './subscribe-options.ts'
import type { Handler, Inspector, Subscription } from './subscription.ts'

export interface TopicParts {
  publish(value: unknown, options: PublishOptions, isTry: boolean): Promise<PublishReceipt>
  subscribe<T>(
    name: string,
    options: SubscribeOptions,
    handler: Handler<T> | null,
    inspect?: Inspector,
  ): Subscription<T>
  /** The client's requests and answers. */
  asking(): Promise<Asking>
  checks?: AnswerChecks
  register?(): Promise<void>
}

/** What a definition needs of its client to put its checks around these. */
export interface TopicSurroundings {
  clock: Clock
  signals: Signals
  /** Asks the broker. */
  ask: Ask
  /** Longest wait of a publish that says nothing else. */
  timeoutMs: number
  /** Gates at which somebody waits: the client waits for them before it ends. */
  busyGates: Set<PublishGate>
}
