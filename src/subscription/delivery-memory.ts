/**
 * What a subscription still knows of messages beyond their state: the consumers' words about failures, which
 * go into dead letters, and which messages were given up on lately. Only in memory, and bounded: the
 * oldest is forgotten first. A decision, shared by all lanes of a subscription.
 */

const ENTRIES_MAX = 10_000
const REASON_BYTES_MAX = 2_097_152

/** Where the dead letter of a message went. */
export interface Buried {
  topic: string
  id: string
}

export class DeliveryMemory {
  readonly #reasons = new Map<string, string>()
  readonly #buried = new Map<string, Buried>()
  #reasonChars = 0

  /** The consumer said why the message failed; it holds until it says something else. */
  explainFailure(topic: string, partition: number, offset: number, reason: string): void {
    const key = keyOf(topic, partition, offset)
    this.#forget(key)
    this.#reasons.set(key, reason)
    this.#reasonChars += reason.length
    while (this.#reasons.size > ENTRIES_MAX || this.#reasonChars > REASON_BYTES_MAX / 2) {
      const [oldest] = this.#reasons.keys()
      this.#forget(oldest!)
    }
  }

  reasonOf(topic: string, partition: number, offset: number): string | null {
    return this.#reasons.get(keyOf(topic, partition, offset)) ?? null
  }

  bury(topic: string, partition: number, offset: number, letter: Buried): void {
    const key = keyOf(topic, partition, offset)
    this.#forget(key)
    this.#buried.delete(key)
    this.#buried.set(key, letter)
    if (this.#buried.size <= ENTRIES_MAX) return
    const [oldest] = this.#buried.keys()
    this.#buried.delete(oldest!)
  }

  buriedAt(topic: string, partition: number, offset: number): Buried | null {
    return this.#buried.get(keyOf(topic, partition, offset)) ?? null
  }

  /** The message begins anew. */
  forget(topic: string, partition: number, offset: number): void {
    const key = keyOf(topic, partition, offset)
    this.#forget(key)
    this.#buried.delete(key)
  }

  /** All of them do. */
  clear(): void {
    this.#reasons.clear()
    this.#buried.clear()
    this.#reasonChars = 0
  }

  #forget(key: string): void {
    const reason = this.#reasons.get(key)
    if (reason === undefined) return
    this.#reasons.delete(key)
    this.#reasonChars -= reason.length
  }
}

function keyOf(topic: string, partition: number, offset: number): string {
  return `${topic}/${partition}:${offset}`
}
