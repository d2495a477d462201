/**
 * Runs tasks one after the other, per key: changes of one topic never overlap, those of different
 * topics do. A key takes memory only while a task of it runs or waits.
 */

export class Serial {
  readonly #tails: Map<string, Promise<unknown>> = new Map()

  /** Runs the task when all earlier ones of the key have ended, however they ended. */
  async run<T>(key: string, task: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(key) ?? Promise.resolve()
    const result = before.then(task, task)
    this.#tails.set(key, result)
    try {
      return await result
    } finally {
      if (this.#tails.get(key) === result) this.#tails.delete(key)
    }
  }
}
