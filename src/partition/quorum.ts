/**
 * How far a log is copied, as partitions see it: the port between a topic's logs and whoever copies them to other
 * brokers (src/cluster). A topic that is led alone has the one below: what is here counts.
 */
import type { Log } from '../log/log.ts'

/** Which log of a topic: `<partition>/data`, `<partition>/cursors`, `<partition>/remembered`, `schedule`. */
export type LogName = string

/** How far one log is copied. Offsets are exclusive: everything below counts. */
export interface Quorum {
  /** Throws `not_enough_replicas` (too few are in sync to take anything in), `no_leader` (this broker does not lead any more). */
  admit(): void
  /**
   * What of `local`, written respectively durable here, counts as such: never more than asked for, never less than
   * was answered before, and never more durable than written.
   */
  written(local: number): number
  durable(local: number): number
  /** Batches were added to the log: there is something to send. */
  appended(): void
  /**
   * Calls back in a later turn, once for several moves, when `written` or `durable` may answer more or `holds` became
   * true again. Answers how to stop it.
   */
  onMove(listener: () => void): () => void
  /** False: this broker may not speak for the log at this moment, or ever again. Looked at before every answer and delivery. */
  readonly holds: boolean
}

/** A topic's leadership by one broker, from its beginning to its end. */
export interface Term {
  /** The leader epoch: all batches of the term carry it. */
  readonly epoch: number
  /** Other brokers have copies of its logs, or may get some: the epochs of these are written down. */
  readonly isCopied: boolean
  /** Asked once for each log, when it is opened or comes into being. */
  quorum(log: LogName, of: Log): Quorum
  /**
   * Resolves when all that the logs held that were asked for before this is committed: what is shown earlier could still be
   * lost. Rejects when the term ends first.
   */
  ready(): Promise<void>
  /** Resolves when all copies that count have the logs that were asked for before this, empty ones too. Rejects as `ready`. */
  copied(): Promise<void>
  /** The topic's settings are these from now on: before whoever changed them hears so. */
  configured(settings: { readonly minInSyncReplicas: number }): void
}

const nothing = (): void => undefined

/** Of a topic that only this broker has. */
export const alone: Quorum = {
  admit: nothing,
  written: (local) => local,
  durable: (local) => local,
  appended: nothing,
  onMove: () => nothing,
  holds: true,
}

/** The log is part of the term, on stable storage where others may ask for that, before anything is written to it. */
export async function joinTerm({ epoch, isCopied }: Term, log: Log): Promise<void> {
  if (isCopied) await log.beginEpoch(epoch)
}

export function aloneTerm(epoch: number): Term {
  return {
    epoch,
    isCopied: false,
    quorum: () => alone,
    ready: () => Promise.resolve(),
    copied: () => Promise.resolve(),
    configured: nothing,
  }
}
