/**
 * The operations that were asked for and are not over, and who lets them happen. `auto` performs each
 * in the order of arrival, one microtask later. `manual` performs none until the driver says which:
 * so a simulator interleaves them in any order, and can crash before one, or after it and before
 * its answer. Nothing here knows what an operation does.
 */
import type { SimRandom } from './sim-random.ts'

/** Returned by an operation of several steps while some are left; it stays pending. */
export const MORE: unique symbol = Symbol('more')

export interface PendingOperation {
  /** Counts up in the order in which they were asked for. */
  readonly id: number
  readonly kind: string
  readonly path: string
}

/** An operation that has taken effect and whose asker does not know yet. */
export interface PerformedOperation {
  readonly operation: PendingOperation
  /** Tells the asker; does nothing after a crash. */
  deliver(): void
}

interface Operation extends PendingOperation {
  act(): unknown
  /** Takes effect in part, as when the process is killed in the middle. */
  tear: (() => void) | undefined
  resolve(value: unknown): void
  reject(error: unknown): void
}

export interface Work<T> {
  kind: string
  path: string
  act(): T | typeof MORE
  tear?: () => void
}

export class SimSchedule {
  #mode: 'auto' | 'manual'
  #random: SimRandom
  #pending: Operation[] = []
  #stalls = new Set<(operation: PendingOperation) => boolean>()
  #nextId = 0
  #epoch = 0

  constructor(mode: 'auto' | 'manual', random: SimRandom) {
    this.#mode = mode
    this.#random = random
  }

  get pending(): readonly PendingOperation[] {
    return this.#pending
  }

  submit<T>(work: Work<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const operation: Operation = {
        id: this.#nextId++,
        kind: work.kind,
        path: work.path,
        act: () => work.act(),
        tear: work.tear,
        resolve: (value) => resolve(value as T),
        reject,
      }
      this.#pending.push(operation)
      if (this.#mode === 'auto') this.#performSoon(operation)
    })
  }

  /** Performs one that is not stalled, chosen by the seed, and tells its asker; null when there is none. */
  step(): PendingOperation | null {
    const ready = this.#pending.filter((operation) => !this.#isStalled(operation))
    if (ready.length === 0) return null
    const performed = this.#perform(this.#random.pick(ready))
    performed.deliver()
    return performed.operation
  }

  /** Performs the one with this id, stalled or not; its asker learns of it by `deliver`. */
  perform(id: number): PerformedOperation | null {
    const operation = this.#pending.find((pending) => pending.id === id)
    return operation ? this.#perform(operation) : null
  }

  /** Operations that match, also those to come, wait until the returned function is called. */
  stall(matches: (operation: PendingOperation) => boolean): () => void {
    this.#stalls.add(matches)
    return () => {
      this.#stalls.delete(matches)
      if (this.#mode === 'auto') for (const operation of this.#pending) this.#performSoon(operation)
    }
  }

  /** The process died: some of what was under way takes effect, whole or in part; no asker ever learns. */
  abandon(): void {
    for (const operation of this.#random.shuffle(this.#pending)) {
      const fate = this.#random.pick(['never', 'whole', 'torn'] as const)
      if (fate === 'whole') this.#perform(operation)
      else if (fate === 'torn') operation.tear?.()
    }
    this.#epoch += 1
    this.#pending = []
    this.#stalls.clear()
  }

  #isStalled(operation: PendingOperation): boolean {
    return [...this.#stalls].some((matches) => matches(operation))
  }

  #performSoon(operation: Operation): void {
    queueMicrotask(() => {
      if (!this.#pending.includes(operation) || this.#isStalled(operation)) return
      this.#perform(operation).deliver()
      if (this.#pending.includes(operation)) this.#performSoon(operation)
    })
  }

  #perform(operation: Operation): PerformedOperation {
    const epoch = this.#epoch
    let tell: () => void
    try {
      const value = operation.act()
      if (value === MORE) return { operation, deliver: () => undefined }
      tell = () => operation.resolve(value)
    } catch (error) {
      tell = () => operation.reject(error)
    }
    this.#pending.splice(this.#pending.indexOf(operation), 1)
    const deliver = (): void => {
      if (epoch === this.#epoch) tell()
    }
    return { operation, deliver }
  }
}
