/**
 * The ports of logging and metrics. Parts are handed these; the server binds them to pino and
 * prom-client. The null ones keep tests quiet.
 */

export interface Logger {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

const ignore = (): void => undefined
export const nullLogger: Logger = { debug: ignore, info: ignore, warn: ignore, error: ignore }

/**
 * What the broker counts while it runs. Labels are bounded: a topic's metrics are kept per topic and
 * subscription only as long as those exist, see server/metrics.ts.
 */
export interface Metrics {
  /** A group commit's sync took so long, for so many bytes. */
  synced(ms: number, bytes: number): void
  /** A group was written: batches, records and bytes of it. */
  appended(records: number, bytes: number): void
  delivered(messages: number, redelivered: number): void
  acknowledged(messages: number): void
  /** Messages that a subscription's filter refused. */
  filtered(messages: number): void
  returned(reason: 'nack' | 'expired' | 'disconnected' | 'released' | 'rejected', messages: number): void
  /** Messages whose dead letter is durable. */
  deadLettered(messages: number): void
  /** Scheduled messages entered the log of their partition. */
  fired(messages: number): void
  /** Too much was parked: a key fell back to dead letters. */
  parkingFull(): void
}

export const nullMetrics: Metrics = {
  synced: ignore,
  appended: ignore,
  delivered: ignore,
  acknowledged: ignore,
  filtered: ignore,
  returned: ignore,
  deadLettered: ignore,
  fired: ignore,
  parkingFull: ignore,
}
