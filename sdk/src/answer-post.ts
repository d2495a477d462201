/**
 * Publishes answers to the inboxes of other clients. Owns a publisher for each of those written to lately, and ends the
 * one used longest ago when there are many; an inbox that its owner deleted and an answer brought back is removed.
 */
import type { PublishReceipt } from './publish-answer.ts'
import type { PublishOptions } from './publish-entry.ts'
import type { Ask } from './questions.ts'

/** What it needs of a publisher. */
export interface AnswerPublisher {
  publish(value: unknown, options: PublishOptions): Promise<PublishReceipt>
  flush(): Promise<void>
  close(): void
}

const PUBLISHERS_MAX = 100
const DELETE_MS = 5000

export class AnswerPost {
  readonly #ask: Ask
  readonly #open: (topic: string) => AnswerPublisher
  readonly #publishers = new Map<string, AnswerPublisher>()
  readonly #ending = new Set<AnswerPublisher>()

  constructor(ask: Ask, open: (topic: string) => AnswerPublisher) {
    this.#ask = ask
    this.#open = open
  }

  async send(inbox: string, value: unknown, options: PublishOptions): Promise<void> {
    const { offset } = await this.#publisher(inbox).publish(value, options)
    if (offset > 0) return
    // Every inbox begins with a message of its owner: this one was gone, and nobody will read it.
    const path = `/v1/topics/${encodeURIComponent(inbox)}`
    await this.#ask({ method: 'DELETE', path, timeoutMs: DELETE_MS }).catch(() => undefined)
  }

  async flush(): Promise<void> {
    await Promise.all([...this.#publishers.values(), ...this.#ending].map((publisher) => publisher.flush()))
  }

  close(): void {
    for (const publisher of [...this.#publishers.values(), ...this.#ending]) publisher.close()
  }

  #publisher(inbox: string): AnswerPublisher {
    const publisher = this.#publishers.get(inbox) ?? this.#open(inbox)
    // Last in the row of those used.
    this.#publishers.delete(inbox)
    this.#publishers.set(inbox, publisher)
    if (this.#publishers.size > PUBLISHERS_MAX) this.#end(...this.#publishers.entries().next().value!)
    return publisher
  }

  #end(inbox: string, publisher: AnswerPublisher): void {
    this.#publishers.delete(inbox)
    this.#ending.add(publisher)
    void publisher.flush().then(() => {
      this.#ending.delete(publisher)
      publisher.close()
    })
  }
}
