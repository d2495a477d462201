/**
 * A subscription of the client's over simulated surroundings: the test is the broker and, where there is a handler, the
 * one who ends its runs.
 */
import type { TidingsError } from '@tidings/sdk/protocol'
import { expect } from 'vitest'
import { Connector } from '../../sdk/src/connector.ts'
import type { SubscribeOptions } from '../../sdk/src/subscribe-options.ts'
import { type Handler, Subscription } from '../../sdk/src/subscription.ts'
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
  #type: string

  constructor(options: SubscribeOptions, handler: Handler<number> | null) {
    this.#type = options.type ?? 'shared'
    const all = { onError: (error: TidingsError) => void this.errors.push(error.code), ...options }
    const connector = new Connector(this.platform, 'http://a', undefined)
    this.subscription = new Subscription(connector, { topic: 't', name: 's', options: all }, handler)
  }

  get socket(): SimSocket {
    return this.platform.socket
  }

  /** Opens the socket and answers the question for the settings. */
  async open(ackDeadlineMs = 3000): Promise<void> {
    this.socket.open()
    const request = this.platform.request()
    expect(request.path).toBe('/v1/topics/t/subscriptions/s')
    request.answer(200, { type: this.#type, ackDeadlineMs })
    await this.soon()
    this.socket.takeSent()
  }

  async reopened(): Promise<void> {
    const before = this.platform.sockets.length
    while (this.platform.sockets.length === before) expect(this.platform.clock.runNext()).toBe(true)
    await this.open()
  }

  deliver(id: string, key: string | null = null, attempt = 1): void {
    const [partition, offset] = id.split(':').map(Number) as [number, number]
    const rest = { contentType: 'application/json', headers: {}, timestamp: '2026-01-01T00:00:00.000Z' }
    this.socket.say({ type: 'message', id, topic: 't', partition, offset, key, value: offset, attempt, ...rest })
  }

  /** What is due at this very moment. */
  async soon(): Promise<void> {
    await settle()
    this.platform.clock.advance(0)
    await settle()
  }

  async sent(): Promise<Record<string, unknown>[]> {
    await this.soon()
    return this.socket.takeSent()
  }
}

export async function opened(options: SubscribeOptions, handler: Handler<number> | null): Promise<SubscriptionRig> {
  const rig = new SubscriptionRig(options, handler)
  await rig.open()
  return rig
}
