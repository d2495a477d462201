/**
 * A subscription of the client's over simulated surroundings: the test is the broker and, where there is a handler, the
 * one who ends its runs.
 */
import {
  type ConsumeEvent,
  type ConsumeRequest,
  encodeConsumeEvent,
  type MessagesEvent,
  readConsumeRequest,
  type SubscriptionType,
  type TidingsError,
} from '@tidings/sdk/protocol'
import { expect } from 'vitest'
import { Connector } from '../../sdk/src/connector.ts'
import type { SubscribeOptions } from '../../sdk/src/subscribe-options.ts'
import { type Handler, Subscription } from '../../sdk/src/subscription.ts'
import { verdictOfRefusal } from '../../sdk/src/upgrade-refusal.ts'
import { messagesFrame } from './messages-frame.ts'
import { settle } from './settle.ts'
import { SimPlatform, type SimSocket } from './sim-platform.ts'

/** A handler whose runs the test ends by hand. */
export class Hands {
  readonly begun: string[] = []
  readonly #ends = new Map<string, { done: () => void; fail: (error: unknown) => void }>()

  readonly handler: Handler<number> = ({ id, attempt }) => {
    this.begun.push(attempt === 1 ? id : `${id} (${attempt})`)
    return new Promise<void>((done, fail) => this.#ends.set(id, { done, fail }))
  }

  async done(id: string): Promise<void> {
    this.#ends.get(id)!.done()
    await settle()
  }

  async fail(id: string, error: unknown): Promise<void> {
    this.#ends.get(id)!.fail(error)
    await settle()
  }
}

export class SubscriptionRig {
  readonly platform = new SimPlatform()
  readonly subscription: Subscription<number>
  readonly errors: string[] = []
  #type: SubscriptionType

  constructor(options: SubscribeOptions, handler: Handler<number> | null) {
    this.#type = options.type ?? 'shared'
    const all = { onError: (error: TidingsError) => void this.errors.push(error.code), ...options }
    const connector = new Connector(this.platform, 'http://a', undefined, verdictOfRefusal)
    this.subscription = new Subscription(
      connector,
      { topic: 't', name: 's', options: all, acknowledged: () => expect.unreachable() },
      handler,
    )
  }

  get socket(): SimSocket {
    return this.platform.socket
  }

  /** Opens the socket, and is the broker that welcomes. */
  async open(ackDeadlineMs = 3000): Promise<void> {
    this.socket.open()
    this.welcome(this.#type, ackDeadlineMs)
    await this.soon()
    this.socket.sentBytes.splice(0)
  }

  welcome(subscriptionType: SubscriptionType, ackDeadlineMs: number, isPattern = false): void {
    const rest = { prefetch: 256, maxUnacked: 10_000, maxDeliveries: null }
    this.say({ type: 'welcome', subscriptionType, isPattern, ackDeadlineMs, ...rest })
    if (!isPattern) this.say({ type: 'topic', topic: 0, name: 't' })
  }

  say(event: Exclude<ConsumeEvent, MessagesEvent>): void {
    this.socket.sayBytes(encodeConsumeEvent(event))
  }

  /** The broker's answer that these are acknowledged. */
  acked(request: unknown, ids: readonly string[]): void {
    const ranges = ids.map((id) => {
      const [partition, from] = id.split(':').map(Number) as [number, number]
      return { topic: 0, partition, from, to: from + 1 }
    })
    this.say({ type: 'acked', request: request as number, ranges })
  }

  async reopened(): Promise<void> {
    const before = this.platform.sockets.length
    while (this.platform.sockets.length === before) expect(this.platform.clock.runNext()).toBe(true)
    await this.open()
  }

  deliver(id: string, key: string | null = null, attempt = 1): void {
    const [partition, offset] = id.split(':').map(Number) as [number, number]
    this.socket.sayBytes(messagesFrame(offset, [{ key, value: String(offset) }], { partition, attempt }))
  }

  /** What is due at this very moment. */
  async soon(): Promise<void> {
    await settle()
    this.platform.clock.advance(0)
    await settle()
  }

  /** What was sent since the last look, ranges as the ids in them. */
  async sent(): Promise<Record<string, unknown>[]> {
    await this.soon()
    return this.socket.sentBytes.splice(0).map((bytes) => shown(readConsumeRequest(bytes)))
  }
}

function shown(frame: ConsumeRequest): Record<string, unknown> {
  const { ranges, ...rest } = { ranges: undefined, ...frame }
  const fields = Object.entries(rest).filter(
    ([name, value]) => value !== undefined && !(name === 'request' && value === 0),
  )
  const ids = ranges?.flatMap(({ partition, from, to }) =>
    Array.from({ length: to - from }, (_, i) => `${partition}:${from + i}`),
  )
  return { ...Object.fromEntries(fields), ...(ids ? { ids } : {}) }
}

export async function opened(options: SubscribeOptions, handler: Handler<number> | null): Promise<SubscriptionRig> {
  const rig = new SubscriptionRig(options, handler)
  await rig.open()
  return rig
}
