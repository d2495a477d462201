/**
 * One broker's files of a topic in the simulation of copying, over several lives: real logs on a simulated disk. It watches
 * from beside what should be in each log, and holds every reopening to it: nothing that was on stable storage is
 * missing, nothing that was cut comes back (S-NOZOMBIE-TAIL).
 */
import type { Disk } from '../../src/base/disk.ts'
import { Latch } from '../../src/base/latch.ts'
import { latchedDisk } from '../../src/base/latched-disk.ts'
import type { Replica, ReplicaLog } from '../../src/cluster/replica.ts'
import { BatchCache, CacheBudget } from '../../src/log/batch-cache.ts'
import { partitionTag } from '../../src/log/format.ts'
import { Log, type LogOptions } from '../../src/log/log.ts'
import { OpenSegments } from '../../src/log/open-segments.ts'
import type { RecordBatch } from '../../src/log/record-batch.ts'
import { createLog } from '../../src/partition/log-place.ts'
import type { SimClock } from '../../src/testing/sim-clock.ts'
import { SimDisk } from '../../src/testing/sim-disk.ts'
import type { SimRandom } from '../../src/testing/sim-random.ts'
import { batch } from '../support/storage.ts'
import { Violation } from './witness.ts'

const UNFINISHED = '-new'

/** A record, as far as two logs must agree on it. */
export function identity({ leaderEpoch, bytes }: RecordBatch): string {
  return `${leaderEpoch}/${bytes.readUInt32BE(12)}`
}

/** What a log should hold: one identity an offset, from `start` on. */
export interface Expected {
  start: number
  records: string[]
  durable: number
  /** While it is cut: to where it may be cut already. */
  cutTo: number | null
  /** While it begins anew. */
  restartAt: number | null
  /** Up to there it was compared with what is committed. */
  compared: number
}

/** A log with its witness: does what the real one does, and notes what is to be there afterwards. */
export class WatchedLog implements ReplicaLog {
  readonly log: Log
  readonly expected: Expected

  constructor(log: Log, expected: Expected) {
    this.log = log
    this.expected = expected
  }

  get startOffset(): number {
    return this.log.startOffset
  }

  get nextOffset(): number {
    return this.log.nextOffset
  }

  get durableOffset(): number {
    return this.log.durableOffset
  }

  get epochs() {
    return this.log.epochs
  }

  get cache() {
    return this.log.cache
  }

  read(offset: number): Promise<RecordBatch[]> {
    return this.log.read(offset)
  }

  /** The leader's own: one batch of these records. */
  async append(texts: readonly string[], leaderEpoch: number): Promise<void> {
    await this.log.prepare(2000)
    const { nextOffset, durablePosition, tag, mark } = this.log
    const made = batch(nextOffset, texts, { durablePosition, tag, mark, leaderEpoch })
    this.#add([made])
    await this.log.write(made.bytes, [made])
  }

  copy(batches: readonly RecordBatch[]): Promise<void> {
    this.#add(batches)
    return this.log.copy(batches)
  }

  sync(): Promise<void> {
    return this.log.sync()
  }

  async truncate(nextOffset: number): Promise<void> {
    this.expected.cutTo = nextOffset
    await this.log.truncate(nextOffset)
    const { expected } = this
    expected.cutTo = null
    expected.records.length = nextOffset - expected.start
    expected.durable = nextOffset
    expected.compared = Math.min(expected.compared, nextOffset)
  }

  async restart(baseOffset: number): Promise<void> {
    this.expected.restartAt = baseOffset
    await this.log.restart(baseOffset)
    Object.assign(this.expected, { start: baseOffset, records: [], durable: baseOffset, restartAt: null, compared: 0 })
  }

  removeBelow(offset: number): Promise<boolean> {
    return this.log.removeBelow(offset)
  }

  /** Notes what is on stable storage by now, and what has been let go of. */
  note(): void {
    const { expected, log } = this
    if (expected.cutTo !== null || expected.restartAt !== null) return
    expected.durable = Math.max(expected.durable, log.durableOffset)
    const gone = log.startOffset - expected.start
    if (gone <= 0) return
    expected.records.splice(0, gone)
    expected.start = log.startOffset
  }

  #add(batches: readonly RecordBatch[]): void {
    for (const one of batches) {
      for (let offset = one.baseOffset; offset < one.nextOffset; offset++) {
        this.expected.records[offset - this.expected.start] = identity(one)
      }
    }
  }
}

/** The files in one life of the broker. */
export class SimReplica implements Replica {
  readonly logs = new Map<string, WatchedLog>()
  readonly latch: Latch
  readonly #machine: CopyMachine
  readonly #options: (name: string) => LogOptions

  constructor(machine: CopyMachine, latch: Latch, options: (name: string) => LogOptions) {
    this.#machine = machine
    this.latch = latch
    this.#options = options
  }

  get seenEpoch(): number {
    return Math.max(0, ...[...this.logs.values()].map(({ log }) => log.seenEpoch))
  }

  async beginEpoch(epoch: number): Promise<void> {
    for (const { log } of this.logs.values()) await log.beginEpoch(epoch)
  }

  async createLog(name: string, baseOffset: number): Promise<WatchedLog> {
    const options = this.#options(name)
    const log = await createLog({ options, unfinished: `${options.directory}${UNFINISHED}` }, baseOffset)
    await log.loadEpochs()
    if (this.seenEpoch > 0) await log.beginEpoch(this.seenEpoch)
    return this.add(name, log, {
      start: baseOffset,
      records: [],
      durable: baseOffset,
      cutTo: null,
      restartAt: null,
      compared: 0,
    })
  }

  async open(name: string): Promise<void> {
    const { log } = await Log.open(this.#options(name))
    await log.loadEpochs()
    const records: string[] = []
    for await (const one of log.all()) {
      for (let offset = one.baseOffset; offset < one.nextOffset; offset++) records.push(identity(one))
    }
    const before = this.#machine.expected.get(name)
    if (before) checkReopened(`${this.#machine.node} ${name}`, before, log, records)
    this.add(name, log, {
      start: log.startOffset,
      records,
      durable: log.nextOffset,
      cutTo: null,
      restartAt: null,
      compared: 0,
    })
  }

  add(name: string, log: Log, expected: Expected): WatchedLog {
    const watched = new WatchedLog(log, expected)
    this.logs.set(name, watched)
    this.#machine.expected.set(name, expected)
    return watched
  }
}

function checkReopened(what: string, before: Expected, log: Log, records: readonly string[]): void {
  const { start, durable, cutTo, restartAt } = before
  const isAnew = restartAt !== null && log.startOffset === restartAt && records.length === 0
  if (isAnew) return
  const least = Math.min(durable, cutTo ?? durable)
  if (log.nextOffset < least) throw new Violation('S-ACK', `${what} ends at ${log.nextOffset}, ${least} was durable`)
  if (log.startOffset < start) throw new Violation('S-START', `${what} begins at ${log.startOffset}, below ${start}`)
  records.forEach((record, at) => {
    const offset = log.startOffset + at
    if (before.records[offset - start] === record) return
    throw new Violation('S-NOZOMBIE-TAIL', `${what} has ${record} at ${offset}, not ${before.records[offset - start]}`)
  })
}

export class CopyMachine {
  readonly node: string
  readonly disk: SimDisk
  readonly expected = new Map<string, Expected>()
  readonly #random: SimRandom
  readonly #wrapDisk: (disk: Disk) => Disk

  constructor(node: string, random: SimRandom, journal: (line: string) => void, wrapDisk = (disk: Disk): Disk => disk) {
    this.node = node
    this.#random = random
    this.#wrapDisk = wrapDisk
    this.disk = new SimDisk({ random, schedule: 'manual', journal })
  }

  /** Opens what is there, in a new life. */
  async boot(clock: ReturnType<SimClock['process']>, failed: (cause: unknown) => void): Promise<SimReplica> {
    const latch = new Latch(failed)
    const disk = latchedDisk(this.#wrapDisk(this.disk.mount()), latch)
    const random = this.#random.split(`life ${clock.monotonic()}`)
    const cacheBudget = new CacheBudget(6000)
    const openSegments = new OpenSegments(3, (error) => latch.trip(error))
    const replica = new SimReplica(this, latch, (name) => ({
      disk,
      clock,
      random,
      directory: name.replace('/', '-'),
      tag: partitionTag('topic', 0, name === 'schedule' ? 'schedule' : 'data'),
      segmentBytes: 1500,
      cache: new BatchCache(cacheBudget),
      openSegments,
    }))
    for (const name of await disk.list('')) if (!name.endsWith(UNFINISHED)) await replica.open(name.replace('-', '/'))
    return replica
  }
}
