/**
 * Effects that happen once, although messages are delivered at least once: the id of every message is noted in the
 * transaction that carries its effect, in the user's own database, so a delivery that comes again finds it there and
 * is acknowledged without another effect. docs/EXACTLY_ONCE.md says why it is a table of ids and not one mark.
 *
 * A separate entry of the package: `@tidings/sdk/exactly-once`. It knows databases by their shapes only.
 */
import type { Message } from './message.ts'
import type { ProcessedStore } from './processed-store.ts'
import { TidingsError } from './protocol/errors.ts'
import type { SubscribeOptions } from './subscribe-options.ts'
import type { Subscription } from './subscription.ts'

export { type PgClient, postgresStore } from './postgres-store.ts'
export type { AcknowledgedThrough, ProcessedId, ProcessedStore, StoreOptions } from './processed-store.ts'
export { type SqliteDatabase, sqliteStore } from './sqlite-store.ts'

export interface ExactlyOnceOptions<Tx> extends SubscribeOptions {
  store: ProcessedStore<Tx>
  /**
   * How long an id stays after it was seen last, when its message is acknowledged. Default: an hour. Longer than you wait
   * before you redrive dead letters.
   */
  keepMs?: number
  /** Ids that are no longer needed are removed after so many messages. Default: 1000. */
  pruneEvery?: number
}

/** What it needs of a topic; every topic of a client has it. */
export interface SubscribableTopic<Out> {
  readonly name: string
  subscribe(name: string, options: SubscribeOptions, handler: (message: Message<Out>) => unknown): Subscription<Out>
}

const KEEP_MS = 3_600_000
/** Below it, an acknowledgement that a power cut undid could meet an id that is gone. */
const KEEP_MIN_MS = 60_000
const PRUNE_EVERY = 1000

/**
 * As `topic.subscribe` with a handler. `effect` does its work through `tx`, the transaction, and nothing else; when it
 * throws, everything is rolled back and the message comes again.
 */
export function subscribeExactlyOnce<Out, Tx>(
  topic: SubscribableTopic<Out>,
  name: string,
  options: ExactlyOnceOptions<Tx>,
  effect: (message: Message<Out>, tx: Tx) => unknown,
): Subscription<Out> {
  const { store, keepMs = KEEP_MS, pruneEvery = PRUNE_EVERY, ...subscribing } = options
  if (!(keepMs >= KEEP_MIN_MS)) throw new TidingsError('invalid_argument', `keepMs must be ${KEEP_MIN_MS} or more`)
  const subscriptionId = `${topic.name}/${name}`
  let processed = 0
  const prune = async (): Promise<void> => {
    try {
      await store.prune(subscriptionId, await subscription.acknowledgedThrough(), keepMs)
    } catch (cause) {
      options.onError?.(new TidingsError('internal', 'the ids of processed messages could not be pruned', { cause }))
    }
  }
  const subscription = topic.subscribe(name, subscribing, async (message) => {
    const { topic: from, partition, offset, timestamp } = message
    const id = { subscription: subscriptionId, topic: from, partition, offset, timestamp }
    await store.once(id, (tx) => effect(message, tx))
    if (++processed % pruneEvery === 0) await prune()
  })
  return subscription
}
