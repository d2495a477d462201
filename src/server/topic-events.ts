/**
 * All readers of one topic's server-sent events. However many messages a turn of the event loop brings and
 * however many readers there are, one pass answers them; readers that stand at the same place share
 * the bytes. A pass is bounded: what is left goes on in the next turn, so that replays do not hold up
 * publishers. Owns the reads from the disk for all of them, and one timer for their heartbeats.
 */
import type { Clock, Timer } from '../base/clock.ts'
import type { Logger } from '../base/telemetry.ts'
import type { RecordBatch } from '../log/record-batch.ts'
import type { Partition } from '../partition/partition.ts'
import type { Topic, TopicEnd } from '../partition/topic.ts'
import { type EventSource, type Slice, type Standing, sliceOf } from './event-slice.ts'
import type { EventStream } from './event-stream.ts'

/** Bytes handed to sockets in one pass, and what serving a reader counts at least. */
const PASS_BYTES = 2 * 1_048_576
const READER_BYTES = 512
/** Reads from the disk under way at once. */
const LOADS_MAX = 8
/** How long to wait after a failed read. */
const RELOAD_MS = 1000
const BEAT_MS = 15_000

/** A read from the disk, and who waits for it. */
type Waiting = Set<EventStream>

export class TopicEvents {
  readonly topic: Topic
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #streams = new Set<EventStream>()
  /** Those that may be sent something, in their order. */
  readonly #ready = new Set<EventStream>()
  readonly #loads = new Map<string, Waiting>()
  /** Those whose read has to wait for others. */
  readonly #queued: Waiting = new Set()
  /** Read from the disk for this pass; they are in the cache too, but that may be small. */
  #loaded: { partition: Partition; from: number; batches: readonly RecordBatch[] } | undefined
  readonly #listened: (() => void)[] = []
  readonly #unwatch: () => void
  #beat: Timer
  #isAwake = false

  constructor(topic: Topic, clock: Clock, logger: Logger, ended: (why: TopicEnd) => void) {
    this.topic = topic
    this.#clock = clock
    this.#logger = logger
    this.#listen()
    this.#unwatch = topic.watch((change) => {
      if (change !== 'grown') return ended(change)
      this.#listen()
      this.#wakeAll()
    })
    this.#beat = this.#scheduleBeat()
  }

  get isEmpty(): boolean {
    return this.#streams.size === 0
  }

  add(stream: EventStream): void {
    this.#streams.add(stream)
    this.wake(stream)
  }

  remove(stream: EventStream): void {
    this.#streams.delete(stream)
    this.#ready.delete(stream)
    this.#queued.delete(stream)
    for (const waiting of this.#loads.values()) waiting.delete(stream)
  }

  /** The reader can take more. */
  wake(stream: EventStream): void {
    this.#ready.add(stream)
    this.#wake()
  }

  /** Ends all readers and forgets the topic. */
  close(last?: string): void {
    this.#beat.cancel()
    this.#unwatch()
    for (const stop of this.#listened) stop()
    for (const stream of this.#streams) stream.end(last)
    this.#streams.clear()
    this.#ready.clear()
    this.#queued.clear()
    this.#loads.clear()
  }

  /** Partitions that the topic gained since it was listened to last. */
  #listen(): void {
    for (const partition of this.topic.partitions.slice(this.#listened.length)) {
      this.#listened.push(partition.onChange(() => this.#wakeAll()))
    }
  }

  #wakeAll(): void {
    for (const stream of this.#streams) this.#ready.add(stream)
    this.#wake()
  }

  #wake(): void {
    if (this.#isAwake) return
    this.#isAwake = true
    this.#clock.soon(() => {
      this.#isAwake = false
      this.#pass()
    })
  }

  #pass(): void {
    const source: EventSource = {
      topic: this.topic.name,
      partitions: this.topic.partitions,
      batchAt: (partition, offset) => this.#batchAt(partition, offset),
      wall: this.#clock.now(),
    }
    let budget = PASS_BYTES
    let last: { from: Standing; render: EventStream['render']; slice: Slice } | undefined
    for (const stream of this.#ready) {
      if (budget <= 0) break
      this.#ready.delete(stream)
      // One whose socket is full comes again when that has drained.
      if (!stream.hasRoom) continue
      const { standing, render } = stream
      if (last?.render !== render || !isSame(last.from, standing)) {
        const slice = this.#slice(source, stream)
        if (!slice) continue
        last = { from: standing, render, slice }
      }
      const { slice } = last
      budget -= Math.max(READER_BYTES, slice.bytes.length)
      stream.take(slice)
      for (const { partition, offset } of slice.missing) this.#load(partition, offset, stream)
      if (slice.hasMore && stream.hasRoom) this.#ready.add(stream)
    }
    this.#loaded = undefined
    if (this.#ready.size > 0) this.#wake()
  }

  /** One reader whose events cannot be made must not take the broker with it. */
  #slice(source: EventSource, stream: EventStream): Slice | null {
    try {
      return sliceOf(source, stream.standing, stream.render)
    } catch (error) {
      this.#logger.error({ err: error, topic: this.topic.name }, 'events could not be made: closing the connection')
      this.remove(stream)
      stream.cut()
      return null
    }
  }

  #batchAt(partition: Partition, offset: number): RecordBatch | undefined {
    const loaded = this.#loaded
    if (loaded?.partition !== partition || offset < loaded.from) return partition.cached(offset)
    // Compaction may have taken the offset away, and then the next batch is the one.
    return loaded.batches.find(({ nextOffset }) => nextOffset > offset) ?? partition.cached(offset)
  }

  #load(partition: Partition, offset: number, stream: EventStream): void {
    const name = `${partition.number}:${offset}`
    const underWay = this.#loads.get(name)
    if (underWay) underWay.add(stream)
    else if (this.#loads.size >= LOADS_MAX) this.#queued.add(stream)
    else {
      const waiting: Waiting = new Set([stream])
      this.#loads.set(name, waiting)
      partition.load(offset).then(
        (batches) => {
          if (batches.length > 0) this.#didLoad(name, partition, offset, batches)
          else this.#didNotLoad(name, partition, offset, null)
        },
        (error: unknown) => this.#didNotLoad(name, partition, offset, error),
      )
    }
  }

  #didLoad(name: string, partition: Partition, from: number, batches: readonly RecordBatch[]): void {
    const waiting = this.#loads.get(name)
    this.#loads.delete(name)
    if (!waiting) return
    this.#requeue(waiting)
    this.#loaded = { partition, from, batches }
    this.#pass()
  }

  #didNotLoad(name: string, partition: Partition, offset: number, error: unknown): void {
    const waiting = this.#loads.get(name)
    if (!waiting) return
    const retry = (): void => {
      this.#loads.delete(name)
      this.#requeue(waiting)
      this.#wake()
    }
    // Retention may have been faster; anything else is worth a look, and a pause.
    if (offset < partition.startOffset) return retry()
    this.#logger.error({ err: error, topic: this.topic.name, partition: partition.number, offset }, 'reading failed')
    this.#clock.after(RELOAD_MS, () => {
      if (this.#loads.get(name) === waiting) retry()
    })
  }

  /** Those who waited for a read go first, while it is in memory; then those whose read can begin now. */
  #requeue(waiting: Waiting): void {
    const others = [...this.#ready, ...this.#queued]
    this.#ready.clear()
    this.#queued.clear()
    for (const stream of [...waiting, ...others]) this.#ready.add(stream)
  }

  #scheduleBeat(): Timer {
    return this.#clock.after(BEAT_MS, () => {
      for (const stream of this.#streams) stream.beat()
      this.#beat = this.#scheduleBeat()
    })
  }
}

function isSame(a: Standing, b: Standing): boolean {
  if (a === b) return true
  if (a.turn !== b.turn || a.offsets.length !== b.offsets.length) return false
  return a.offsets.every((offset, partition) => offset === b.offsets[partition])
}
