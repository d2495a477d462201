/**
 * A stretch of a topic as server-sent events: from where a reader stands, as many events as one write should
 * carry, and where the reader stands afterwards. A decision over what the log holds: it finds batches in
 * memory only and says which it missed. Readers that stand at the same place get the same bytes.
 *
 * Must stay true: whatever the text ends with, its last id says exactly where the reader then stands, so
 * that a resume repeats nothing and leaves nothing out. Called by topic-events.ts.
 */
import type { RecordBatch } from '../log/record-batch.ts'
import type { Partition } from '../partition/partition.ts'
import { mayPassOver, passedOver } from '../subscription/screen.ts'
import { eventId, type Offsets, othersOf, standingId } from './event-id.ts'
import type { Place } from './message-json.ts'

/** Where a reader stands, and which partition is its next in turn. */
export interface Standing {
  readonly offsets: Offsets
  readonly turn: number
}

/** What is read: a topic's partitions, and its batches as far as they are in memory. */
export interface EventSource {
  readonly topic: string
  readonly partitions: readonly Partition[]
  /** The batch that holds the offset, or else the next one after it, where that is in memory. */
  batchAt(partition: Partition, offset: number): RecordBatch | undefined
  /** Milliseconds since the epoch. */
  wall: number
}

/** The `data` of one event. */
export type Render = (place: Place, batch: RecordBatch, offset: number) => string

export interface Slice {
  bytes: Buffer
  standing: Standing
  /** What has to be read from the disk before these partitions go on. */
  missing: { partition: Partition; offset: number }[]
  /** Another slice would carry more, at once. */
  hasMore: boolean
}

/** Characters after which no further event is added, of all partitions and of one in its turn. */
const SLICE_CHARS = 65_536
const TURN_CHARS = 16_384
/** Records looked at in one turn of a partition, shown or not. */
const TURN_RECORDS = 2048

const LINE_BREAKS = /[\r\n]+/g

export function sliceOf(source: EventSource, from: Standing, render: Render): Slice {
  return new Slicer(source, from, render).run()
}

class Slicer {
  readonly #source: EventSource
  readonly #render: Render
  readonly #offsets: number[]
  readonly #missing: Slice['missing'] = []
  #turn: number
  #text = ''
  /** The last id in the text says where the reader stands now. */
  #isTold = true

  constructor(source: EventSource, from: Standing, render: Render) {
    this.#source = source
    this.#render = render
    this.#turn = from.turn
    this.#offsets = [...from.offsets]
    while (this.#offsets.length < source.partitions.length) this.#offsets.push(0)
  }

  run(): Slice {
    const { partitions } = this.#source
    for (let step = 0; step < partitions.length && this.#text.length < SLICE_CHARS; step++) {
      this.#take(partitions[this.#turn % partitions.length]!)
      this.#turn = (this.#turn + 1) % partitions.length
    }
    if (!this.#isTold) this.#text += `id: ${standingId(this.#offsets)}\n\n`
    const stuck = new Set(this.#missing.map(({ partition }) => partition.number))
    return {
      bytes: Buffer.from(this.#text),
      standing: { offsets: this.#offsets, turn: this.#turn },
      missing: this.#missing,
      hasMore: partitions.some(
        ({ number, highWatermark }) => this.#offsets[number]! < highWatermark && !stuck.has(number),
      ),
    }
  }

  /** The partition's turn: events until it has had its share, has no more, or has to be read first. */
  #take(partition: Partition): void {
    const { number, startOffset, highWatermark } = partition
    const others = othersOf(this.#offsets, number)
    if (this.#offsets[number]! < startOffset) this.#tellGap(partition, others)
    const limit = Math.min(SLICE_CHARS, this.#text.length + TURN_CHARS)
    let records = TURN_RECORDS
    for (let at = this.#offsets[number]!; at < highWatermark && records > 0 && this.#text.length < limit; ) {
      const batch = this.#source.batchAt(partition, at)
      if (!batch) {
        this.#missing.push({ partition, offset: at })
        return
      }
      const end = Math.min(batch.nextOffset, highWatermark)
      // Compaction may have removed what was before it.
      if (batch.baseOffset > at) this.#isTold = false
      at = Math.max(at, batch.baseOffset)
      if (batch.count === 0) {
        at = end
        this.#isTold = false
      }
      const mayHide = mayPassOver(batch)
      for (; at < end && records > 0 && this.#text.length < limit; at++, records--) {
        if (mayHide && passedOver(batch, at, this.#source.wall, null)) this.#isTold = false
        else this.#tell(number, batch, at, others)
      }
      this.#offsets[number] = at
    }
  }

  #tell(partition: number, batch: RecordBatch, offset: number, others: string): void {
    const json = this.#render({ topic: this.#source.topic, partition }, batch, offset)
    // Inside of JSON strings line breaks are escaped, so those that are there are white space between tokens.
    const isOneLine = !json.includes('\n') && !json.includes('\r')
    const data = isOneLine ? json : json.replace(LINE_BREAKS, ' ')
    this.#text += `id: ${eventId(partition, offset, others)}\ndata: ${data}\n\n`
    this.#isTold = true
  }

  /** History that the reader asked for is gone: it is told, and goes on after it. */
  #tellGap({ number, startOffset }: Partition, others: string): void {
    const from = this.#offsets[number]!
    const to = startOffset - 1
    this.#offsets[number] = startOffset
    const data = JSON.stringify({ topic: this.#source.topic, partition: number, from, to })
    this.#text += `event: gap\nid: ${eventId(number, to, others)}\ndata: ${data}\n\n`
    this.#isTold = true
  }
}
