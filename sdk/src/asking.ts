/**
 * What most programs never use: requests and answers over topics, and questions to the broker. A browser loads it when
 * it is used first. Owns the inbox to which answers come, the post that carries answers to the inboxes of others, and
 * HTTP. Made by client.ts.
 */
import { AnswerPost, type AnswerPublisher } from './answer-post.ts'
import { Inbox, type InboxParts } from './inbox.ts'
import type { Message } from './message.ts'
import type { Http } from './platform.ts'
import type { AcknowledgedThrough } from './processed-store.ts'
import { type Ask, Questions } from './questions.ts'
import { type Replying, reply } from './replier.ts'
import { acknowledgedThrough } from './subscription-state.ts'

export interface AskingParts extends Omit<InboxParts, 'ask'> {
  http: Http
  /** A publisher of its own, which the client does not know of. */
  open(topic: string): AnswerPublisher
}

export class Asking {
  readonly ask: Ask
  readonly #questions: Questions
  readonly #answers: AnswerPost
  readonly #inbox: Inbox

  constructor(parts: AskingParts) {
    this.#questions = new Questions(parts.connector, parts.http)
    this.ask = this.#questions.ask
    this.#answers = new AnswerPost(this.ask, (topic) => parts.open(topic))
    this.#inbox = new Inbox({ ...parts, ask: this.ask })
  }

  request(...asked: Parameters<Inbox['request']>): Promise<unknown> {
    return this.#inbox.request(...asked)
  }

  reply<T>(message: Message<T>, replying: Replying<T>): Promise<void> {
    return reply(message, replying, (inbox, value, options) => this.#answers.send(inbox, value, options))
  }

  acknowledgedThrough(topic: string, subscription: string): Promise<AcknowledgedThrough[]> {
    return acknowledgedThrough(this.ask, topic, subscription)
  }

  flush(): Promise<void> {
    return this.#answers.flush()
  }

  /** Resolves when the inbox is gone; `end` need not wait for that. */
  close(): Promise<void> {
    return this.#inbox.close()
  }

  end(): void {
    this.#answers.close()
    this.#questions.close()
  }
}

/** What has to be there before there can be one. */
export interface AskingKit {
  Asking: typeof Asking
  http: Http
}
