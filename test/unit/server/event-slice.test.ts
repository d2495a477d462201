import { describe, expect, it } from 'vitest'
import { emptyBatch, withoutRecords } from '../../../src/log/compacted-batch.ts'
import type { RecordBatch } from '../../../src/log/record-batch.ts'
import type { Partition } from '../../../src/partition/partition.ts'
import { sliceOf } from '../../../src/server/event-slice.ts'
import { messageJson } from '../../../src/server/message-json.ts'
import { SimClock } from '../../../src/testing/sim-clock.ts'
import { MemoryPartition } from '../../support/memory-partition.ts'

const PLACE = { position: 0, partitionTag: 0, mark: Buffer.alloc(8) }

/** Ten messages of which compaction left 1 and 3, then nothing up to 70,000. */
function compacted(): { partition: Partition; batches: RecordBatch[] } {
  const source = new MemoryPartition(new SimClock())
  source.publish(10)
  const whole = source.cached(0)!
  const few = withoutRecords(whole, (offset) => offset === 1 || offset === 3, PLACE)!
  const empty = (baseOffset: number, nextOffset: number): RecordBatch =>
    emptyBatch({ baseOffset, nextOffset, timestamp: 0, leaderEpoch: 1 }, PLACE)
  const batches = [few, empty(10, 60_000), empty(60_000, 70_000)]
  const partition = { number: 0, startOffset: 0, highWatermark: 70_000 } as Partition
  return { partition, batches }
}

describe('a slice of what compaction left', () => {
  it('has the messages that are there, and says in the end how far it has come', () => {
    const { partition, batches } = compacted()
    const source = {
      topic: 't',
      partitions: [partition],
      batchAt: (_: Partition, offset: number) => batches.find(({ nextOffset }) => nextOffset > offset),
      wall: 0,
    }
    const slice = sliceOf(source, { offsets: [0], turn: 0 }, messageJson)
    const text = slice.bytes.toString()
    expect(text.match(/^id: .*$/gm)).toEqual(['id: 0:1', 'id: 0:3', 'id: ,70000'])
    expect(text).not.toContain('event: gap')
    expect([slice.standing.offsets, slice.hasMore, slice.missing]).toEqual([[70_000], false, []])
  })
})
