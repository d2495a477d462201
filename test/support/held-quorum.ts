/** A quorum whose marks stand where a test puts them. */
import { TidingsError } from '@tidings/sdk/protocol'
import type { Quorum, Term } from '../../src/partition/quorum.ts'

export class HeldQuorum implements Quorum {
  holds = true
  refusal: TidingsError | null = null
  appends = 0
  #written = 0
  #durable = 0
  readonly #listeners: Set<() => void> = new Set()

  admit(): void {
    if (this.refusal) throw this.refusal
  }

  written(local: number): number {
    return Math.min(local, this.#written)
  }

  durable(local: number): number {
    return Math.min(local, this.#durable)
  }

  appended(): void {
    this.appends += 1
  }

  onMove(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  get listeners(): number {
    return this.#listeners.size
  }

  /** The others have so much. */
  move({ written, durable }: { written?: number; durable?: number }): void {
    this.#durable = Math.max(this.#durable, durable ?? 0)
    this.#written = Math.max(this.#written, written ?? 0, this.#durable)
    for (const listener of this.#listeners) listener()
  }
}

/** A term with one quorum for each log, all of which have everything until a test asks for one. */
export class HeldTerm implements Term {
  copied(): Promise<void> {
    return Promise.resolve()
  }

  configured(): void {
    // It holds whatever the settings are.
  }

  ready(): Promise<void> {
    return Promise.resolve()
  }

  readonly epoch: number
  readonly isCopied = true
  readonly #quorums: Map<string, HeldQuorum> = new Map()

  constructor(epoch = 1) {
    this.epoch = epoch
  }

  /** @param log its name */
  quorum(log: string): HeldQuorum {
    let quorum = this.#quorums.get(log)
    if (!quorum) {
      quorum = new HeldQuorum()
      this.#quorums.set(log, quorum)
    }
    return quorum
  }
}

export function noLeader(): TidingsError {
  return new TidingsError('no_leader', 'another broker leads the topic now')
}
