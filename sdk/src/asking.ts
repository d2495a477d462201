/**
 * Requests and answers over topics, the client's side of both: owns the inbox to which answers come, and the post that
 * carries answers to the inboxes of others. Made by client.ts when something is asked, or answered, for the first time.
 */
import { AnswerPost, type AnswerPublisher } from './answer-post.ts'
import { Inbox, type InboxParts } from './inbox.ts'
import type { Message } from './message.ts'
import { type Replying, reply } from './replier.ts'

export interface AskingParts extends InboxParts {
  /** A publisher of its own, which the client does not know of. */
  open(topic: string): AnswerPublisher
}

export class Asking {
  readonly #parts: AskingParts
  readonly #answers: AnswerPost
  #inbox: Inbox | undefined

  constructor(parts: AskingParts) {
    this.#parts = parts
    this.#answers = new AnswerPost(parts.connector, (topic) => parts.open(topic))
  }

  request(...asked: Parameters<Inbox['request']>): Promise<unknown> {
    this.#inbox ??= new Inbox(this.#parts)
    return this.#inbox.request(...asked)
  }

  reply<T>(message: Message<T>, replying: Replying<T>): Promise<void> {
    return reply(message, replying, (inbox, value, options) => this.#answers.send(inbox, value, options))
  }

  flush(): Promise<void> {
    return this.#answers.flush()
  }

  async close(): Promise<void> {
    await this.#inbox?.close()
    this.#answers.close()
  }
}
