/**
 * A coordinator that a test can cut off, as a broken network would: what is asked then is rejected, and what is under
 * way when it is cut may have happened. Optionally a call waits until the test lets it through.
 */
import type { Coordinator } from '../../src/cluster/coordinator.ts'

type Call = 'get' | 'list' | 'transact' | 'grant' | 'keepAlive' | 'revoke'

export class FaultyCoordinator implements Coordinator {
  readonly #inner: Coordinator
  /** Nothing gets through. */
  isCut = false
  /** Transactions that put a key under this prefix are refused with the error: nothing of them happens. */
  refusal: { under: string; error: Error } | null = null
  /** The calls that wait, by name, each with what lets it through. */
  readonly #held = new Map<Call, (() => void)[]>()
  /** Called with the name of every call when it is made. */
  readonly #onCall: (call: Call) => void

  constructor(inner: Coordinator, onCall: (call: Call) => void = () => undefined) {
    this.#inner = inner
    this.#onCall = onCall
  }

  /** From now on calls of this name wait. */
  hold(call: Call): void {
    this.#held.set(call, [])
  }

  /** Lets those that wait through, and those that follow. */
  release(call: Call): void {
    const waiting = this.#held.get(call) ?? []
    this.#held.delete(call)
    for (const go of waiting) go()
  }

  get(key: string): ReturnType<Coordinator['get']> {
    return this.#pass('get', () => this.#inner.get(key))
  }

  list(prefix: string): ReturnType<Coordinator['list']> {
    return this.#pass('list', () => this.#inner.list(prefix))
  }

  transact(...args: Parameters<Coordinator['transact']>): ReturnType<Coordinator['transact']> {
    const { refusal } = this
    const [, writes] = args
    if (refusal && writes.some((write) => 'put' in write && write.put.startsWith(refusal.under))) {
      return Promise.reject(refusal.error)
    }
    return this.#pass('transact', () => this.#inner.transact(...args))
  }

  watch(...args: Parameters<Coordinator['watch']>): ReturnType<Coordinator['watch']> {
    return this.#inner.watch(...args)
  }

  grant(ttlMs: number): Promise<string> {
    return this.#pass('grant', () => this.#inner.grant(ttlMs))
  }

  keepAlive(lease: string): Promise<boolean> {
    return this.#pass('keepAlive', () => this.#inner.keepAlive(lease))
  }

  revoke(lease: string): Promise<void> {
    return this.#pass('revoke', () => this.#inner.revoke(lease))
  }

  close(): Promise<void> {
    return this.#inner.close()
  }

  async #pass<T>(call: Call, go: () => Promise<T>): Promise<T> {
    this.#onCall(call)
    const waiting = this.#held.get(call)
    if (waiting) {
      await new Promise<void>((resolve) => {
        waiting.push(resolve)
      })
    }
    if (this.isCut) throw new Error('the store cannot be reached')
    return go()
  }
}
