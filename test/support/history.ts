/**
 * What clients saw, in the order in which they saw it: the input of the history checker. Every operation
 * has an `inv` before its request leaves and one completion after it: `ok`, `fail` (a definite refusal) or
 * `info` (no answer: it may or may not have happened). One history is of one topic and of one client process.
 */
import { createHash } from 'node:crypto'
import { openSync, readFileSync, writeFileSync, writeSync } from 'node:fs'

export interface At {
  partition: number
  offset: number
}

export type Completion = 'ok' | 'fail' | 'info'

export type HistoryEvent = { t: number } & (
  | { op: 'pub'; ph: 'inv'; id: number; value: string; hash: string; idempotent: boolean }
  | ({ op: 'pub'; ph: 'ok'; id: number; duplicate: boolean } & At)
  | { op: 'pub'; ph: 'fail' | 'info'; id: number; code: string }
  | { op: 'open' | 'close'; sub: string; session: number; consumer: string }
  | ({ op: 'dlv'; sub: string; session: number; attempt: number; value: string; hash: string } & At)
  | { op: 'ack'; ph: 'inv' | Completion; id: number; sub: string; session: number; at: readonly At[] }
  | { op: 'nack' | 'release'; sub: string; session: number; at: readonly At[] }
  | { op: 'seek'; sub: string }
  /** The end of the log as a client was shown it, and when it asked. */
  | { op: 'hw'; ph: 'inv'; id: number }
  | { op: 'hw'; ph: 'ok'; id: number; partition: number; end: number }
  /** A position and its value read without a subscription. */
  | ({ op: 'read'; value: string; hash: string } & At)
  | { op: 'fault'; kind: string }
  /** What the broker says is left when everything should be done. */
  | { op: 'backlog'; sub: string; backlog: number }
)

/** An event as it is recorded: the history adds the time. */
export type Observation = HistoryEvent extends infer E ? (E extends HistoryEvent ? Omit<E, 't'> : never) : never

export class History {
  readonly events: HistoryEvent[] = []
  readonly #now: () => number
  readonly #file: number | undefined
  #lastId: number

  /**
   * `now` in milliseconds that never go back. Of several processes whose histories are merged, each has
   * its own `firstId`, a clock that they share, and a `file` that has each event before the next step is taken,
   * so that it survives the process.
   */
  constructor(now: () => number, options: { firstId?: number; file?: string } = {}) {
    this.#now = now
    this.#lastId = options.firstId ?? 0
    this.#file = options.file === undefined ? undefined : openSync(options.file, 'a')
  }

  /** A number nobody else in this history has: for operations and for sessions. */
  nextId(): number {
    return ++this.#lastId
  }

  record(observation: Observation): void {
    const event = { t: this.#now(), ...observation } as HistoryEvent
    if (this.#file === undefined) this.events.push(event)
    else writeSync(this.#file, `${JSON.stringify(event)}\n`)
  }

  /** One JSON object a line, for a look afterwards. */
  save(path: string): void {
    writeFileSync(path, this.events.map((event) => `${JSON.stringify(event)}\n`).join(''))
  }
}

/** The clock that all processes of one machine share. */
export function machineTime(): number {
  return Number(process.hrtime.bigint()) / 1e6
}

/** The events of one process's file. A last line that its death cut short was never acted upon. */
export function loadHistory(path: string): HistoryEvent[] {
  const lines = readFileSync(path, 'utf8').split('\n')
  lines.pop()
  return lines.map((line) => JSON.parse(line) as HistoryEvent)
}

/** One history out of those of several processes, in the order of their common clock. */
export function mergeHistories(histories: readonly (readonly HistoryEvent[])[]): HistoryEvent[] {
  return histories.flat().sort((a, b) => a.t - b.t)
}

/** Short and good enough to tell a changed payload. */
export function hashOf(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('base64url').slice(0, 11)
}
