/**
 * A log that compacts, and what was put into it: publishes, rounds of compaction and crashes over a simulated disk,
 * and a check of everything that must hold whatever happened.
 */
import { encodeRecord, REDRIVEN_TO_HEADER, recordIdempotencyKey, recordKey, recordValueAt } from '@tidings/sdk/protocol'
import { expect } from 'vitest'
import type { CompactionPolicy } from '../../src/log/compaction.ts'
import { Log, type LogOptions } from '../../src/log/log.ts'
import {
  BATCH_HEADER_BYTES,
  HAS_ADDRESSEE,
  HAS_IDEMPOTENCY_KEYS,
  RecordBatch,
  stampBatch,
} from '../../src/log/record-batch.ts'
import type { CompactionReport } from '../../src/log/segment-compaction.ts'
import { SimDisk } from '../../src/testing/sim-disk.ts'
import { SimRandom } from '../../src/testing/sim-random.ts'
import { settle } from './settle.ts'
import { logOptions, TAG } from './storage.ts'

export interface Message {
  key: string | null
  /** Empty: a tombstone, where there is a key. */
  value: string
  idempotent: boolean
  /** It was brought back for this subscription alone. */
  addressee?: string
}

interface Stored extends Message {
  timestamp: number
}

const SEGMENT_BYTES = 4096
export const TOMBSTONE_MS = 1000
export const WINDOW_MS = 300

/** A log and what was put into it, over any number of crashes. */
export class Story {
  readonly disk: SimDisk
  readonly stored: Stored[] = []
  log!: Log
  now = 10_000
  readonly #random: SimRandom

  constructor(seed: number) {
    this.#random = new SimRandom(seed)
    this.disk = new SimDisk({ random: this.#random, schedule: 'manual' })
  }

  options(): LogOptions {
    return logOptions(this.disk.mount(), { segmentBytes: SEGMENT_BYTES, random: this.#random })
  }

  /** Lets the disk work until the task has ended, or so many operations have happened; then null. */
  async drive<T>(task: Promise<T>, operations = Number.POSITIVE_INFINITY): Promise<T | null> {
    let outcome: { value: T } | { error: unknown } | null = null
    task.then(
      (value) => (outcome = { value }),
      (error: unknown) => (outcome = { error }),
    )
    for (let left = operations; left > 0; ) {
      await settle()
      if (outcome) break
      if (this.disk.step()) left--
    }
    if (outcome === null) return null
    if ('error' in (outcome as object)) throw (outcome as unknown as { error: unknown }).error
    return (outcome as unknown as { value: T }).value
  }

  async create(): Promise<void> {
    this.log = (await this.drive(Log.create(this.options())))!
  }

  async open(): Promise<void> {
    this.log = (await this.drive(Log.open(this.options())))!.log
  }

  async publish(messages: readonly Message[]): Promise<void> {
    const { log } = this
    const records = messages.map(({ key, value, idempotent, addressee }, i) =>
      encodeRecord({
        key: key === null ? null : Buffer.from(key),
        value: Buffer.from(value),
        contentType: 'text/plain',
        headers: addressee === undefined ? [] : [[REDRIVEN_TO_HEADER, addressee]],
        idempotencyKey: idempotent ? Buffer.from(`once ${this.stored.length + i}`) : null,
        expiresAt: null,
        valueChecked: true,
      }),
    )
    const bytes = Buffer.concat([Buffer.alloc(BATCH_HEADER_BYTES), ...records])
    await this.drive(log.prepare(bytes.length))
    stampBatch(bytes, {
      baseOffset: log.nextOffset,
      timestamp: this.now,
      durablePosition: log.durablePosition,
      partitionTag: TAG,
      mark: log.mark,
      leaderEpoch: 1,
      count: messages.length,
      attributes:
        (messages.some(({ idempotent }) => idempotent) ? HAS_IDEMPOTENCY_KEYS : 0) |
        (messages.some(({ addressee }) => addressee !== undefined) ? HAS_ADDRESSEE : 0),
    })
    await this.drive(log.write(bytes, [new RecordBatch(bytes)]))
    await this.drive(log.sync())
    this.stored.push(...messages.map((message) => ({ ...message, timestamp: this.now })))
  }

  roll(): Promise<void | null> {
    return this.drive(this.log.roll())
  }

  /** Null: it was cut short. */
  compact(
    patch: Partial<{ keysMax: number; operations: number; policy: CompactionPolicy }> = {},
  ): Promise<CompactionReport | null> {
    const policy = patch.policy ?? { tombstoneMs: TOMBSTONE_MS, windowMs: WINDOW_MS, framesMs: 0 }
    const options = {
      policy,
      now: this.now,
      random: this.#random,
      keysMax: patch.keysMax ?? 1000,
      pause: () => Promise.resolve(),
      mayGoOn: () => true,
    }
    return this.drive(this.log.compaction.run(options, 0), patch.operations)
  }

  async crash(kind: 'process' | 'power'): Promise<void> {
    this.disk.crash(kind)
    await this.open()
  }

  /** What can be read, by offset. */
  async present(): Promise<Map<number, Message>> {
    const found = new Map<number, Message>()
    const read = async (): Promise<void> => {
      for await (const batch of this.log.all()) {
        for (const offset of batch.offsets()) {
          const at = batch.positionOf(offset)
          const key = recordKey(batch.bytes, at)
          const end = at + 4 + batch.bytes.readUInt32BE(at)
          found.set(offset, {
            key: key && Buffer.from(key).toString(),
            value: batch.bytes.subarray(recordValueAt(batch.bytes, at), end).toString(),
            idempotent: recordIdempotencyKey(batch.bytes, at) !== null,
          })
        }
      }
    }
    await this.drive(read())
    return found
  }

  /** Everything that must hold whatever happened. */
  async check(): Promise<Map<number, Message>> {
    const { stored, log } = this
    expect(log.nextOffset).toBe(stored.length)
    const present = await this.present()
    for (const [offset, message] of present) expect(stored[offset]).toMatchObject(message)
    for (const [offset, { key, value, idempotent, timestamp }] of stored.entries()) {
      const isNewest = !stored.slice(offset + 1).some((later) => later.key === key)
      const age = this.now - timestamp
      const mustStay =
        key === null || (idempotent && age < WINDOW_MS) || (isNewest && (value !== '' || age <= TOMBSTONE_MS))
      if (mustStay) expect(present.has(offset), `offset ${offset} is there`).toBe(true)
    }
    expect(tableOf(present.values())).toEqual(tableOf(stored))
    return present
  }
}

/** What somebody has who reads it all: the last value of each key that has one. */
function tableOf(messages: Iterable<Message>): Map<string, string> {
  const table = new Map<string, string>()
  for (const { key, value } of messages) {
    if (key === null) continue
    if (value === '') table.delete(key)
    else table.set(key, value)
  }
  return table
}
