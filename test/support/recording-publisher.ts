/**
 * Publishes over HTTP and writes down what was asked and what was answered. A publish without an answer is
 * repeated with its idempotency key until it has one, across restarts of the broker.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { Pool } from 'undici'
import { type History, hashOf } from './history.ts'

export interface Entry {
  /** What identifies the message in the history: kept as header `n`. */
  name: string
  value: unknown
  key?: string
  headers?: Record<string, string>
}

interface Receipt {
  partition: number
  offset: number
  duplicate?: boolean
}

export interface Answer {
  status: number
  body: Record<string, unknown>
}

const RETRY_MS = 50
const ANSWER_MS = 15_000

export class RecordingPublisher {
  /** Requests that were sent again because no answer came. */
  repeated = 0
  readonly #pool: Pool
  readonly #topic: string
  readonly #history: History

  constructor(url: string, topic: string, history: History, connections = 8) {
    this.#pool = new Pool(url, { connections, pipelining: 1, bodyTimeout: ANSWER_MS, headersTimeout: ANSWER_MS })
    this.#topic = topic
    this.#history = history
  }

  async close(): Promise<void> {
    await this.#pool.destroy()
  }

  /**
   * One message as the raw body, until it is answered; false when `stopped` says so before. With `patienceMs` the
   * first request is given up so soon that its answer is mostly lost, and its repetition meets what it stored.
   */
  async publishOne(entry: Entry, stopped: () => boolean = () => false, patienceMs?: number): Promise<boolean> {
    const body = JSON.stringify(entry.value)
    const headers = {
      'content-type': 'application/json',
      'idempotency-key': entry.name,
      'tidings-header-n': entry.name,
      ...(entry.key === undefined ? {} : { 'tidings-key': entry.key }),
    }
    return this.#untilAnswered([entry], 'messages', headers, body, stopped, patienceMs)
  }

  /** A batch as NDJSON, each entry with its own idempotency key, until it is answered. */
  async publishBatch(entries: readonly Entry[], stopped: () => boolean = () => false): Promise<boolean> {
    const lines = entries.map(({ name, value, key, headers }) => {
      const line = {
        value,
        headers: { ...headers, n: name },
        idempotencyKey: name,
        ...(key === undefined ? {} : { key }),
      }
      return `${JSON.stringify(line)}\n`
    })
    return this.#untilAnswered(
      entries,
      'messages/batch',
      { 'content-type': 'application/x-ndjson' },
      lines.join(''),
      stopped,
    )
  }

  /** One request, no repetition; undefined when no answer came. */
  async send(
    path: string,
    headers: Record<string, string>,
    body: string,
    signal?: AbortSignal,
  ): Promise<Answer | undefined> {
    try {
      const answer = await this.#pool.request({
        method: 'POST',
        path: `/v1/topics/${this.#topic}/${path}`,
        headers,
        body,
        signal: signal ?? null,
      })
      return { status: answer.statusCode, body: (await answer.body.json()) as Record<string, unknown> }
    } catch {
      return undefined
    }
  }

  async #untilAnswered(
    entries: readonly Entry[],
    path: string,
    headers: Record<string, string>,
    body: string,
    stopped: () => boolean,
    patienceMs?: number,
  ): Promise<boolean> {
    const hashes = entries.map(({ value }) => hashOf(JSON.stringify(value)))
    for (let first = true; ; first = false) {
      const ids = entries.map(({ name: value }, i) => {
        const id = this.#history.nextId()
        this.#history.record({ op: 'pub', ph: 'inv', id, value, hash: hashes[i]!, idempotent: true })
        return id
      })
      const signal = first && patienceMs !== undefined ? AbortSignal.timeout(patienceMs) : undefined
      const answer = await this.send(path, headers, body, signal)
      if (answer?.status === 200) {
        const receipts = (answer.body['receipts'] ?? [answer.body]) as Receipt[]
        if (receipts.length !== ids.length) throw new Error(`${ids.length} entries, ${receipts.length} receipts`)
        receipts.forEach(({ partition, offset, duplicate = false }, i) => {
          this.#history.record({ op: 'pub', ph: 'ok', id: ids[i]!, partition, offset, duplicate })
        })
        return true
      }
      const definite = answer !== undefined && answer.status !== 500
      const code = typeof answer?.body['code'] === 'string' ? answer.body['code'] : 'no answer'
      for (const id of ids) this.#history.record({ op: 'pub', ph: definite ? 'fail' : 'info', id, code })
      if (stopped()) return false
      if (definite && answer.status < 500 && answer.status !== 429)
        throw new Error(`refused: ${JSON.stringify(answer.body)}`)
      this.repeated++
      await sleep(RETRY_MS)
    }
  }
}
