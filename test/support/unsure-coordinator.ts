/**
 * A coordinator whose answers get lost, as over a network: some transactions are rejected without
 * having happened, some after they happened, and some happen a few calls later. Which, the seed says.
 * Everything else is passed through.
 */
import type { Change, Coordinator, Guard, Write } from '../../src/cluster/coordinator.ts'
import type { SimRandom } from '../../src/testing/sim-random.ts'

type Outcome = { ok: boolean; revision: number }

export class UnsureCoordinator implements Coordinator {
  #inner: Coordinator
  #random: SimRandom
  #lossRate: number
  /** Transactions that are still on their way. */
  #late: (() => Promise<unknown>)[] = []
  lost = { before: 0, after: 0, late: 0 }

  constructor(inner: Coordinator, random: SimRandom, lossRate = 0.5) {
    this.#inner = inner
    this.#random = random
    this.#lossRate = lossRate
  }

  async get(key: string): ReturnType<Coordinator['get']> {
    await this.#arrive()
    return this.#inner.get(key)
  }

  async list(prefix: string): ReturnType<Coordinator['list']> {
    await this.#arrive()
    return this.#inner.list(prefix)
  }

  async transact(guards: readonly Guard[], writes: readonly Write[]): Promise<Outcome> {
    await this.#arrive()
    if (!this.#random.chance(this.#lossRate)) return this.#inner.transact(guards, writes)
    const fate = this.#random.pick(['before', 'after', 'late'] as const)
    this.lost[fate]++
    if (fate === 'after') await this.#inner.transact(guards, writes)
    if (fate === 'late') this.#late.push(() => this.#inner.transact(guards, writes))
    throw new Error('the answer got lost')
  }

  /** What is still on its way gets there. */
  async deliverAll(): Promise<void> {
    for (const apply of this.#late.splice(0)) await apply()
  }

  async #arrive(): Promise<void> {
    if (this.#late.length > 0 && this.#random.chance(0.5)) await this.#late.shift()!()
  }

  watch(
    prefix: string,
    afterRevision: number,
    on: { changes(changes: Change[]): void; lost(): void },
  ): { stop(): void } {
    return this.#inner.watch(prefix, afterRevision, on)
  }

  grant(ttlMs: number): Promise<string> {
    return this.#inner.grant(ttlMs)
  }

  keepAlive(lease: string): Promise<boolean> {
    return this.#inner.keepAlive(lease)
  }

  revoke(lease: string): Promise<void> {
    return this.#inner.revoke(lease)
  }

  close(): Promise<void> {
    return this.#inner.close()
  }
}
