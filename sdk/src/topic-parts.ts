/** What stands behind a topic: the client's parts of it, and the checks around them where a schema describes it. */
import type { Connector } from './connector.ts'
import type { Inbox } from './inbox.ts'
import type { PublishReceipt } from './publish-answer.ts'
import type { PublishOptions } from './publish-entry.ts'
import type { PublishGate } from './publish-gate.ts'
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
  /** The client's own, where answers arrive. */
  inbox(): Inbox
  /** Publishes to the inbox of another client. */
  answer(inbox: string, value: unknown, options: PublishOptions): Promise<void>
  /** What an answer must be, before it is sent and when it has come. */
  checks?: { sent(answer: unknown): Promise<unknown>; received(answer: unknown): Promise<unknown> }
  register?(): Promise<void>
}

/** What a definition needs of its client to put its checks around these. */
export interface TopicSurroundings {
  connector: Connector
  /** Everything of this topic passes here; the client waits for it before it ends. */
  gate: PublishGate
  /** Whether this subscription has somewhere to put what cannot be handled. */
  hasDeadLetters(subscription: string): Promise<boolean>
}
