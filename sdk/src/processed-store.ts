/** Where the ids of processed messages are kept: a port, with a table as all that implement it here have it. */
import { TidingsError } from './protocol/errors.ts'

export interface ProcessedId {
  /** The topic or pattern that is subscribed to, and the subscription: `orders.*` and `orders.eu` may both have a `billing`. */
  subscription: string
  topic: string
  /** From 0. */
  partition: number
  offset: number
  /** When it was published. A topic that is deleted and made again counts its offsets from 0 again. */
  timestamp: string
}

/** How far a subscription has acknowledged everything in one partition. */
export interface AcknowledgedThrough {
  /** The topic of the partition. */
  topic: string
  /** From 0. */
  partition: number
  /** Every offset below it is acknowledged. */
  offset: number
}

export interface ProcessedStore<Tx> {
  /**
   * Notes the id and runs `effect` in one transaction; false when the id had been noted: then nothing is run. Two that try
   * it with one id at the same time must be brought in a row.
   */
  once(id: ProcessedId, effect: (tx: Tx) => unknown): Promise<boolean>
  /** Removes the ids of this subscription that are below these and were seen longer ago than `keepMs`. */
  prune(subscription: string, through: readonly AcknowledgedThrough[], keepMs: number): Promise<void>
}

export interface StoreOptions {
  /** Default: `tidings_processed`. */
  table?: string
}

/** Safe to stand in a statement as it is. */
export function tableName({ table = 'tidings_processed' }: StoreOptions): string {
  if (/^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?$/.test(table)) return table
  throw new TidingsError('invalid_argument', `table ${JSON.stringify(table)} is no plain name`)
}

/** The same in PostgreSQL and SQLite. */
export function createTableSql(table: string): string {
  return `create table if not exists ${table} (
  subscription text not null,
  topic text not null,
  topic_partition integer not null,
  topic_offset bigint not null,
  published_at text not null,
  seen_at bigint not null,
  primary key (subscription, topic, topic_partition, topic_offset)
)`
}

/** The statements, with `now` (milliseconds) and parameters as the database has them: in each they come in their order. */
export function statementsOf(table: string, now: string, parameter: (position: number) => string) {
  const [p1, p2, p3, p4, p5] = [1, 2, 3, 4, 5].map(parameter)
  const isIt = `subscription = ${p1} and topic = ${p2} and topic_partition = ${p3} and topic_offset`
  return {
    /** Changes a row when the message is new; also when it has the place of one of a topic that was deleted. */
    note: `insert into ${table} (subscription, topic, topic_partition, topic_offset, published_at, seen_at)
values (${p1}, ${p2}, ${p3}, ${p4}, ${p5}, ${now})
on conflict (subscription, topic, topic_partition, topic_offset)
do update set published_at = excluded.published_at, seen_at = excluded.seen_at
where ${table}.published_at <> excluded.published_at`,
    see: `update ${table} set seen_at = ${now} where ${isIt} = ${p4}`,
    prune: `delete from ${table} where ${isIt} < ${p4} and seen_at < ${now} - ${p5}`,
  }
}
