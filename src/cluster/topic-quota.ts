/**
 * How many topics there may be at once. Each costs files, handles, memory and some of every start, and whoever may
 * publish makes one by naming it. Counts those that are being made; used by the host, for every creation.
 */
import { TidingsError } from '@tidings/sdk/protocol'

export class TopicQuota {
  readonly #most: number
  readonly #count: () => number
  #making = 0

  /** @param count how many there are */
  constructor(most: number, count: () => number) {
    this.#most = most
    this.#count = count
  }

  /** Throws `conflict` where there are as many as may be. */
  async make<T>(task: () => Promise<T>): Promise<T> {
    if (this.#count() + this.#making >= this.#most) {
      const detail = `there are ${this.#most} topics, as many as this broker takes: delete some, or raise --max-topics`
      throw new TidingsError('conflict', detail)
    }
    this.#making += 1
    try {
      return await task()
    } finally {
      this.#making -= 1
    }
  }
}
