/**
 * A quick measurement of a running broker with one client: publishes to a topic of its own and consumes it at the same
 * time. What it cannot keep up with shows as latency (with --rate, from when a message was due), what got lost or came
 * twice is counted and fails the run. The broker deletes the topic also where this process cannot.
 */
import { type Client, createClient, type Topic } from '@tidings/sdk'
import type { Clock } from '../base/clock.ts'
import { bytesText, countText, durationText, rateText } from './amount.ts'
import { subscriptionPath, topicPath } from './broker-api.ts'
import { type Context, EXIT } from './command.ts'
import { Latency, latencyText } from './latency.ts'
import { placeOf } from './place.ts'

const WARM_UP = 1000
/** Without another message for so long, the rest is not waited for. */
const PATIENCE_MS = 30_000
const EXPIRES_MS = 60_000
const TICK_MS = 1

interface Plan {
  messages: number
  bytes: number
  inFlight: number
  /** A second; null: as fast as receipts come. */
  rate: number | null
}

export async function bench(context: Context): Promise<number> {
  const { call, api, terminal, clock, random } = context
  const plan: Plan = {
    messages: call.number('messages') ?? 20_000,
    bytes: call.number('size') ?? 256,
    inFlight: call.number('in-flight') ?? 256,
    rate: call.number('rate') ?? null,
  }
  const topic = `bench-${random.id()}`
  const durability = call.text('durability') ?? 'fsync'
  const partitions = call.number('partitions') ?? 1
  await api().put(topicPath(topic), { partitions, durability, expireWithSubscriptions: true })
  const ended = terminal.ended()
  const { urls: url, token } = placeOf(call)
  const client = createClient({ url, ...(token === undefined ? {} : { token }) })
  try {
    await api().put(subscriptionPath(topic, 'bench'), { start: 'earliest', expireAfterMs: EXPIRES_MS })
    const run = new Run(client, topic, plan, clock, ended)
    const result = { durability, partitions, ...plan, ...(await run.measure((text) => terminal.status(text))) }
    terminal.status('')
    const isRight = result.failed === 0 && result.missing === 0
    await terminal.print(call.isOn('json') ? `${JSON.stringify(result, rounded)}\n` : resultText(result))
    if (ended.aborted) terminal.note('interrupted: the figures are of what was done until then\n')
    return isRight && !ended.aborted ? EXIT.done : EXIT.failed
  } finally {
    await client.close({ timeoutMs: 1000 })
    await api()
      .delete(topicPath(topic))
      .catch(() => undefined)
  }
}

/** Microseconds are as fine as the clock is. */
function rounded(_name: string, value: unknown): unknown {
  return typeof value === 'number' ? Number(value.toFixed(3)) : value
}

interface Result extends Plan {
  durability: string
  partitions: number
  published: number
  failed: number
  received: number
  missing: number
  /** Delivered more than once, which at-least-once allows. */
  repeated: number
  publishMs: number
  consumeMs: number
  publishPerSecond: number
  consumePerSecond: number
  receiptMs: ReturnType<Latency['summary']>
  deliveryMs: ReturnType<Latency['summary']>
}

class Run {
  readonly #topic: Topic<Uint8Array>
  readonly #plan: Plan
  readonly #clock: Clock
  readonly #ended: AbortSignal
  readonly #total: number
  /** When each message was due, or was given to the client. */
  readonly #dueAt: Float64Array
  readonly #seen: Uint8Array
  readonly #receipts: Latency
  readonly #deliveries: Latency
  #published = 0
  #failed = 0
  #received = 0
  #repeated = 0
  #lastReceivedAt = 0
  #flying = 0
  #wake: (() => void) | null = null

  constructor(client: Client, topic: string, plan: Plan, clock: Clock, ended: AbortSignal) {
    this.#topic = client.topic<Uint8Array>(topic)
    this.#plan = plan
    this.#clock = clock
    this.#ended = ended
    this.#total = WARM_UP + plan.messages
    this.#dueAt = new Float64Array(this.#total)
    this.#seen = new Uint8Array(this.#total)
    this.#receipts = new Latency(plan.messages)
    this.#deliveries = new Latency(plan.messages)
    // Whoever waits is woken by the signal, too.
    ended.addEventListener('abort', () => this.#wake?.())
  }

  async measure(status: (text: string) => void): Promise<Omit<Result, keyof Plan | 'durability' | 'partitions'>> {
    const subscription = this.#topic.subscribe('bench', { prefetch: 1000 }, (message) => this.#receive(message.value))
    status('warming up')
    await this.#publishAsFastAsPossible(0, WARM_UP)
    await this.#until(() => this.#flying === 0 && this.#received >= this.#published)
    this.#published = this.#failed = this.#received = this.#repeated = 0
    status('measuring')
    const startedAt = this.#clock.monotonic()
    const { rate } = this.#plan
    if (rate === null) await this.#publishAsFastAsPossible(WARM_UP, this.#total)
    else await this.#publishAtRate(rate)
    await this.#until(() => this.#flying === 0)
    const publishMs = this.#clock.monotonic() - startedAt
    status('waiting for the rest')
    await this.#until(() => this.#received >= this.#published)
    const consumeMs = Math.max(1, this.#lastReceivedAt - startedAt)
    await subscription.drain({ timeoutMs: 1000 })
    return {
      published: this.#published,
      failed: this.#failed,
      received: this.#received,
      missing: Math.max(0, this.#published - this.#received),
      repeated: this.#repeated,
      publishMs,
      consumeMs,
      publishPerSecond: (this.#published * 1000) / publishMs,
      consumePerSecond: (this.#received * 1000) / consumeMs,
      receiptMs: this.#receipts.summary(),
      deliveryMs: this.#deliveries.summary(),
    }
  }

  async #publishAsFastAsPossible(from: number, to: number): Promise<void> {
    for (let at = from; at < to && !this.#ended.aborted; at++) {
      await this.#until(() => this.#flying < this.#plan.inFlight)
      this.#publish(at, this.#clock.monotonic())
    }
  }

  /** Whether receipts come or not: what is late is published late, and counts from when it was due. */
  async #publishAtRate(rate: number): Promise<void> {
    const startedAt = this.#clock.monotonic()
    let at = WARM_UP
    while (at < this.#total && !this.#ended.aborted) {
      const due = WARM_UP + ((this.#clock.monotonic() - startedAt) * rate) / 1000
      for (; at < Math.min(this.#total, due); at++) this.#publish(at, startedAt + ((at - WARM_UP) * 1000) / rate)
      await this.#turn()
    }
  }

  #publish(at: number, dueAt: number): void {
    const value = Buffer.alloc(this.#plan.bytes)
    value.writeUInt32BE(at, 0)
    this.#dueAt[at] = dueAt
    this.#flying += 1
    this.#topic
      .publish(value)
      .then(
        () => {
          this.#published += 1
          if (at >= WARM_UP) this.#receipts.add(this.#clock.monotonic() - dueAt)
        },
        () => {
          this.#failed += 1
        },
      )
      .finally(() => {
        this.#flying -= 1
        this.#wake?.()
      })
  }

  #receive(value: Uint8Array): void {
    const at = Buffer.from(value.buffer, value.byteOffset, value.length).readUInt32BE(0)
    if (this.#seen[at] === 1) {
      this.#repeated += 1
      return
    }
    this.#seen[at] = 1
    this.#received += 1
    this.#lastReceivedAt = this.#clock.monotonic()
    if (at >= WARM_UP) this.#deliveries.add(this.#lastReceivedAt - this.#dueAt[at]!)
    this.#wake?.()
  }

  /** Or until nothing moves any more, or the signal. */
  async #until(isSo: () => boolean): Promise<void> {
    while (!isSo() && !this.#ended.aborted) {
      const isMoving = await new Promise<boolean>((resolve) => {
        const timer = this.#clock.after(PATIENCE_MS, () => resolve(false))
        this.#wake = () => {
          timer.cancel()
          resolve(true)
        }
      })
      this.#wake = null
      if (!isMoving) return
    }
  }

  #turn(): Promise<void> {
    return new Promise((resolve) => void this.#clock.after(TICK_MS, resolve))
  }
}

function resultText(result: Result): string {
  const { messages, bytes, inFlight, rate, partitions, durability, failed, missing, repeated } = result
  const how =
    rate === null ? `${countText(inFlight)} in flight` : `${countText(rate)} a second, whether receipts come or not`
  const lines = [
    `${countText(messages)} messages of ${bytesText(bytes)}, ${how}; ${partitions} partition${partitions === 1 ? '' : 's'}, ${durability}; one client that publishes and consumes`,
    `published  ${countText(result.published)} in ${durationText(result.publishMs)}: ${rateText(result.publishPerSecond)}/s`,
    `consumed   ${countText(result.received)} in ${durationText(result.consumeMs)}: ${rateText(result.consumePerSecond)}/s`,
    `receipt    ${latencyText(result.receiptMs)}   (${rate === null ? 'from publish' : 'from when it was due'} to receipt)`,
    `delivery   ${latencyText(result.deliveryMs)}   (${rate === null ? 'from publish' : 'from when it was due'} to the handler)`,
    ...(rate !== null && result.publishPerSecond < rate * 0.95 ? ['the rate was not reached'] : []),
    ...(failed + missing > 0
      ? [`NOT RIGHT: ${countText(failed)} publishes failed, ${countText(missing)} messages did not come`]
      : []),
    ...(repeated > 0 ? [`${countText(repeated)} came more than once`] : []),
  ]
  return `${lines.join('\n')}\n`
}
