/**
 * Prints messages as they come. Without a name it looks on, with a subscription of its own that is gone at the end (the
 * broker deletes it where this process cannot). With a name it is a consumer: with --ack what was printed is
 * acknowledged, without it everything is kept from others meanwhile and handed back at the end, uncounted.
 */
import { createClient, type Gap, type Message, type SubscribeOptions, type Subscription } from '@tidings/sdk'
import { isPattern, TidingsError } from '@tidings/sdk/protocol'
import type { Clock } from '../base/clock.ts'
import { countText } from './amount.ts'
import { subscriptionPath, topicPath } from './broker-api.ts'
import type { Call } from './call.ts'
import { type Context, EXIT, UsageError } from './command.ts'
import { messageJson, messageLine } from './message-text.ts'
import { placeOf } from './place.ts'
import type { SubscriptionJson } from './subscription.ts'
import type { Terminal } from './terminal.ts'

const ONLOOKER_EXPIRES_MS = 60_000
const DEFAULT_PREFETCH = 256

export async function subscribe(context: Context): Promise<number> {
  const { call, api, terminal, clock, random } = context
  const topic = call.arg('topic')
  const given = call.optionalArg('name')
  if (given === undefined && call.isOn('ack'))
    throw new UsageError('--ack needs the <name> of a subscription: without one nothing is to be acknowledged')
  const name = given ?? `looking-on-${random.id()}`
  const { ackDeadlineMs } = await prepared(context, topic, name, given === undefined)
  // From here on a signal ends it in order.
  const ended = terminal.ended()
  const { urls: url, token } = placeOf(call)
  const client = createClient({ url, ...(token === undefined ? {} : { token }) })
  try {
    const subscription = client.topic(topic).subscribe(name, optionsOf(call, terminal))
    const tail = new Tail({
      subscription,
      call,
      terminal,
      clock,
      ackDeadlineMs,
      isAcking: given === undefined || call.isOn('ack'),
    })
    await tail.run(ended)
    return EXIT.done
  } finally {
    await client.close()
    if (given === undefined)
      await api()
        .delete(subscriptionPath(topic, name))
        .catch(() => undefined)
  }
}

/** The subscription as it is, or as it was just made. */
async function prepared(context: Context, topic: string, name: string, isOnlooker: boolean): Promise<SubscriptionJson> {
  const { terminal, api } = context
  // A name that was mistyped looks like a topic on which nothing happens.
  const found =
    isPattern(topic) ||
    (await api()
      .find(topicPath(topic), 'topic_not_found')
      .catch(() => true))
  const subscription = await made(context, topic, name, isOnlooker)
  if (found === null) terminal.note(`tidings: there was no topic ${topic}; it has been made\n`)
  return subscription
}

async function made(
  { call, api }: Context,
  topic: string,
  name: string,
  isOnlooker: boolean,
): Promise<SubscriptionJson> {
  const path = subscriptionPath(topic, name)
  const [type, start, filter] = [call.text('type'), call.given('start'), call.text('filter')]
  const wanted = {
    ...(type === undefined ? {} : { type }),
    ...(start === undefined ? {} : { start }),
    ...(filter === undefined ? {} : { filter }),
  }
  if (isOnlooker) return api().put<SubscriptionJson>(path, { ...wanted, expireAfterMs: ONLOOKER_EXPIRES_MS })
  const present = await api().find<SubscriptionJson>(path, 'topic_not_found', 'subscription_not_found')
  if (!present) return api().put<SubscriptionJson>(path, wanted)
  if (filter !== undefined && filter !== present.filter) {
    throw new TidingsError(
      'conflict',
      `the subscription ${name} is there with ${present.filter === null ? 'no filter' : `the filter ${present.filter}`}; change it with "tidings subscription update"`,
    )
  }
  // The broker says what is wrong with another type or start.
  return type === undefined && start === undefined
    ? present
    : api().put<SubscriptionJson>(path, {
        ...(type === undefined ? {} : { type }),
        ...(start === undefined ? {} : { start }),
      })
}

function optionsOf(call: Call, terminal: Terminal): SubscribeOptions {
  const max = call.number('max')
  const consumer = call.text('consumer')
  const prefetch = call.number('prefetch') ?? Math.min(max ?? DEFAULT_PREFETCH, DEFAULT_PREFETCH)
  let lastCode: string | null = null
  return {
    prefetch,
    ...(consumer === undefined ? {} : { consumer }),
    // Said once for each outage, not for each attempt to mend it.
    onError: (error) => {
      if (error.code !== lastCode) terminal.note(`tidings: ${error.message}; trying again\n`)
      lastCode = error.code
    },
    onConnect: () => {
      if (lastCode !== null) terminal.note('tidings: connected\n')
      lastCode = null
    },
    onGap: ({ topic, partition, from: first, to: last }: Gap) =>
      terminal.note(
        `tidings: retention removed offsets ${first} to ${last} of ${topic}/${partition} before they were acknowledged\n`,
      ),
  }
}

interface TailParts {
  subscription: Subscription<unknown>
  call: Call
  terminal: Terminal
  clock: Clock
  ackDeadlineMs: number
  isAcking: boolean
}

class Tail {
  readonly #parts: TailParts
  /** Printed and not acknowledged: to be kept, and to be handed back. */
  readonly #held: Message<unknown>[] = []
  readonly #asked = new Set<Promise<boolean>>()
  #unsureCount = 0
  #idleSince: number
  #isEnding = false
  /** The loop has a message in hand, and will see by itself that it is over. */
  #isPrinting = false

  constructor(parts: TailParts) {
    this.#parts = parts
    this.#idleSince = parts.clock.monotonic()
  }

  async run(ended: AbortSignal): Promise<void> {
    const { subscription, call, terminal } = this.#parts
    const max = call.number('max') ?? Number.POSITIVE_INFINITY
    const end = (): void => this.#end()
    ended.addEventListener('abort', end)
    this.#watchIdle(call.number('idle'))
    this.#keepHeld()
    const render = call.isOn('json') ? messageJson : messageLine
    let printed = 0
    try {
      if (ended.aborted) return
      for await (const message of subscription) {
        this.#isPrinting = true
        const isTaken = await terminal.print(render(message))
        this.#isPrinting = false
        if (!isTaken) {
          message.release()
          break
        }
        this.#idleSince = this.#parts.clock.monotonic()
        this.#settle(message)
        printed += 1
        if (printed >= max || this.#isEnding) break
      }
    } finally {
      ended.removeEventListener('abort', end)
      this.#isEnding = true
      for (const message of this.#held) message.release()
      await Promise.all(this.#asked)
      await subscription.drain({ timeoutMs: 0 })
      if (this.#unsureCount > 0)
        terminal.note(
          `${countText(this.#unsureCount)} of the printed messages may come again: their acknowledgement was not confirmed\n`,
        )
    }
  }

  #settle(message: Message<unknown>): void {
    if (!this.#parts.isAcking) {
      this.#held.push(message)
      return
    }
    const asked = message.ack()
    this.#asked.add(asked)
    void asked.then((isConfirmed) => {
      this.#asked.delete(asked)
      if (!isConfirmed) this.#unsureCount += 1
    })
  }

  /** Ends the loop when it waits for a message. */
  #end(): void {
    if (this.#isEnding) return
    this.#isEnding = true
    if (this.#isPrinting) return
    for (const message of this.#held) message.release()
    void Promise.all(this.#asked).then(() => this.#parts.subscription.drain({ timeoutMs: 0 }))
  }

  #watchIdle(idleMs: number | undefined): void {
    if (idleMs === undefined) return
    const { clock } = this.#parts
    const look = (): void => {
      const leftMs = this.#idleSince + idleMs - clock.monotonic()
      if (leftMs <= 0) this.#end()
      else if (!this.#isEnding) clock.after(leftMs, look)
    }
    clock.after(idleMs, look)
  }

  /** What was printed and is to be handed back must not pass its deadline meanwhile: that would count as an attempt. */
  #keepHeld(): void {
    const { clock, ackDeadlineMs, isAcking } = this.#parts
    if (isAcking) return
    const keep = (): void => {
      if (this.#isEnding) return
      for (const message of this.#held) message.extend(ackDeadlineMs)
      clock.after(ackDeadlineMs / 3, keep)
    }
    clock.after(ackDeadlineMs / 3, keep)
  }
}
