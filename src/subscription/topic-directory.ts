/**
 * How a subscription reaches topics other than its own: where its dead letters go, and where they come
 * back from. Types only; the host implements it.
 */
import type { Topic } from '../partition/topic.ts'
import type { CursorStore } from './cursor-store.ts'

/** A topic with the subscription logs of its partitions, by number. */
export interface OpenTopic {
  topic: Topic
  cursors: readonly CursorStore[]
}

export interface TopicDirectory {
  /** The topic of that name as it is now: it may be deleted and made anew at any time, so ask each time. */
  find(name: string): OpenTopic | null
  /** The same; made when it is missing, to take messages as large as the topic `like` does, where there is one. */
  open(name: string, like: string): Promise<OpenTopic>
}
