/**
 * The port between a follower and the files of its topic. `Log` of src/log is a ReplicaLog as it is; whoever opens the
 * topic's directories makes the Replica. All logs are opened before a follower gets them and closed after it has stopped.
 */
import type { EpochEntry } from '../log/epoch-history.ts'
import type { Log } from '../log/log.ts'
import type { RecordBatch } from '../log/record-batch.ts'
import type { LogName } from '../partition/quorum.ts'

/** What a follower does with one log. */
export interface ReplicaLog extends Pick<Log, 'startOffset' | 'nextOffset' | 'durableOffset' | 'sync' | 'removeBelow'> {
  readonly epochs: { readonly entries: readonly EpochEntry[] }
  /**
   * Writes batches as the leader stamped them, at the end of the log, and changes the bytes that it is given. Checks
   * them; on an error, a full disk included, the log is as it was before.
   */
  copy(batches: readonly RecordBatch[]): Promise<void>
  /** Cuts the end off: durable when it resolves, and before or after at any crash. */
  truncate(nextOffset: number): Promise<void>
  /** Everything goes; the log begins there. */
  restart(baseOffset: number): Promise<void>
}

export interface Replica {
  /** The highest leader epoch that was ever accepted, in any log of the topic. */
  readonly seenEpoch: number
  readonly logs: ReadonlyMap<LogName, ReplicaLog>
  /** Durable when it resolves: nothing of a lower epoch is accepted from then on, whatever comes. */
  beginEpoch(epoch: number): Promise<void>
  /** A log that the leader has and this broker has not. */
  createLog(name: LogName, baseOffset: number): Promise<ReplicaLog>
}
