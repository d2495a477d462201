import type { TidingsError } from '@tidings/sdk/protocol'
import { describe, expect, it } from 'vitest'
import { Log } from '../../../src/log/log.ts'
import {
  type CommitEntry,
  GroupCommit,
  type GroupCommitOptions,
  type Records,
} from '../../../src/partition/commit-queue.ts'
import { alone } from '../../../src/partition/quorum.ts'
import { SimClock } from '../../../src/testing/sim-clock.ts'
import { SimDisk } from '../../../src/testing/sim-disk.ts'
import { SimRandom } from '../../../src/testing/sim-random.ts'
import { settle } from '../../support/settle.ts'
import { environment, logOptions, record } from '../../support/storage.ts'

class Entry implements CommitEntry {
  readonly events: string[] = []
  readonly bytes: Uint8Array
  error: TidingsError | null = null
  taken = 0

  constructor(text: string) {
    this.bytes = record(text)
  }

  get size(): number {
    return this.bytes.length
  }

  take(): Records {
    this.taken += 1
    return { bytes: this.bytes, count: 1, attributes: 0 }
  }

  written(offset: number): void {
    this.events.push(`written ${offset}`)
  }

  durable(offset: number): void {
    this.events.push(`durable ${offset}`)
  }

  failed(error: TidingsError): void {
    this.error = error
    this.events.push(`failed ${error.code}`)
  }
}

interface Rig {
  disk: SimDisk
  clock: SimClock
  log: Log
  queue: GroupCommit
  poison: Error[]
  /** Lets pending disk operations of these kinds happen, until none is left. */
  perform(...kinds: string[]): Promise<void>
}

async function rig(
  patch: Partial<GroupCommitOptions> & { segmentBytes?: number; capacityBytes?: number } = {},
): Promise<Rig> {
  const disk = new SimDisk({ random: new SimRandom(7), schedule: 'manual' })
  const clock = new SimClock()
  const mounted = disk.mount()
  const waiting = <T>(promise: Promise<T>): Promise<T> => drive(disk, promise)
  const shared = await waiting(environment(mounted, clock))
  const log = await waiting(Log.create(logOptions(mounted, { segmentBytes: patch.segmentBytes ?? 1_000_000 })))
  if (patch.capacityBytes !== undefined) disk.capacityBytes = disk.usedBytes + patch.capacityBytes
  const queue = new GroupCommit({
    log,
    quorum: alone,
    clock,
    latch: shared.latch,
    metrics: shared.metrics,
    space: shared.space,
    usesReserve: false,
    leaderEpoch: 1,
    maxQueuedBytes: 100_000,
    lazySyncMs: 50,
    onProgress: () => undefined,
    onSettled: () => undefined,
    ...patch,
  })
  const perform = async (...kinds: string[]): Promise<void> => {
    for (;;) {
      await settle()
      await settle()
      const next = disk.pending.find(({ kind }) => kinds.includes(kind))
      if (!next) return
      disk.perform(next.id)?.deliver()
    }
  }
  return { disk, clock, log, queue, poison: shared.poison, perform }
}

async function drive<T>(disk: SimDisk, promise: Promise<T>): Promise<T> {
  let isOver = false
  const ended = promise.finally(() => {
    isOver = true
  })
  while (!isOver) {
    disk.step()
    await settle()
  }
  return ended
}

describe('the commit queue', () => {
  it('answers durable only after the sync, in order, with offsets', async () => {
    const { queue, perform } = await rig()
    const entries = ['a', 'b', 'c'].map((text) => new Entry(text))
    for (const entry of entries) queue.submit(entry, 'durable')
    await perform('write', 'sync')
    expect(entries.flatMap(({ events }) => events)).toEqual([])
    await perform('writeDurably')
    expect(entries.map(({ events }) => events)).toEqual([0, 1, 2].map((i) => [`written ${i}`, `durable ${i}`]))
  })

  it('syncs apart from the writing once somebody has waited for the write alone', async () => {
    const { queue, perform } = await rig()
    const entries = ['a', 'b', 'c'].map((text) => new Entry(text))
    queue.submit(entries[0]!, 'durable')
    queue.submit(entries[1]!, 'written')
    await perform('write', 'writeDurably')
    expect(entries.map(({ events }) => events)).toEqual([['written 0'], ['written 1'], []])
    await perform('sync')
    expect(entries.map(({ events }) => events.at(-1))).toEqual(['durable 0', 'durable 1', undefined])
    queue.submit(entries[2]!, 'durable')
    await perform('write', 'writeDurably')
    expect(entries[2]!.events).toEqual(['written 2'])
    await perform('sync')
    expect(entries[2]!.events).toEqual(['written 2', 'durable 2'])
  })

  it('syncs what was written before along with a group', async () => {
    const { queue, perform } = await rig()
    const [lazy, durable] = [new Entry('lazy'), new Entry('durable')]
    queue.submit(lazy, 'lazy')
    await perform('write')
    queue.submit(durable, 'durable')
    await perform('writeDurably', 'write')
    expect(durable.events).toEqual(['written 1'])
    await perform('sync')
    expect([lazy.events.at(-1), durable.events.at(-1)]).toEqual(['durable 0', 'durable 1'])
  })

  it('takes everything that arrived during a flush into the next one', async () => {
    const { disk, queue, perform } = await rig()
    queue.submit(new Entry('first'), 'durable')
    await perform()
    const others = Array.from({ length: 20 }, (_, i) => new Entry(`other ${i}`))
    for (const entry of others) queue.submit(entry, 'durable')
    await perform()
    expect(others.every(({ taken }) => taken === 0)).toBe(true)
    expect(disk.counts.get('writeDurably')).toBeUndefined()
    await perform('writeDurably')
    expect(others.at(-1)!.events).toEqual(['written 20', 'durable 20'])
    expect(disk.counts.get('writeDurably')).toBe(2)
  })

  it('writes at once what waits only for the write, also while a sync is under way', async () => {
    const { queue, perform } = await rig()
    const slow = new Entry('slow')
    queue.submit(slow, 'durable')
    queue.submit(new Entry('another'), 'written')
    await perform('write')
    const quick = new Entry('quick')
    queue.submit(quick, 'written')
    await perform('write')
    expect(quick.events).toEqual(['written 2'])
    expect(slow.events).toEqual(['written 0'])
    await perform('sync')
    expect(slow.events).toEqual(['written 0', 'durable 0'])
    expect(quick.events).toEqual(['written 2'])
  })

  it('syncs what nobody waits for within the lazy interval', async () => {
    const { clock, queue, perform } = await rig()
    const lazy = new Entry('lazy')
    queue.submit(lazy, 'lazy')
    await perform('write', 'sync')
    expect(lazy.events).toEqual(['written 0'])
    clock.advance(50)
    await perform('sync')
    expect(lazy.events).toEqual(['written 0', 'durable 0'])
  })

  it('is bounded: past its bytes publishers are told to slow down, and nothing of theirs is stored', async () => {
    const { queue, log, perform } = await rig({ maxQueuedBytes: 200 })
    const entries: Entry[] = []
    expect(() => {
      for (;;) {
        const entry = new Entry('x'.repeat(50))
        queue.submit(entry, 'durable')
        entries.push(entry)
      }
    }).toThrow(expect.objectContaining({ code: 'overloaded' }))
    await perform('writeDurably')
    expect(log.nextOffset).toBe(entries.length)
    expect(() => queue.submit(new Entry('more'), 'durable')).not.toThrow()
  })

  it('takes one entry that is larger than its bound, alone', async () => {
    const { queue, perform } = await rig({ maxQueuedBytes: 200 })
    const large = new Entry('x'.repeat(1000))
    queue.submit(large, 'durable')
    await perform('writeDurably')
    expect(large.events.at(-1)).toBe('durable 0')
  })

  it.each([
    { urgency: 'durable', told: [] },
    { urgency: 'written', told: ['written 0'] },
  ] as const)('never calls anybody after a failed sync, and never syncs again (S-LATCH), $urgency', async (of) => {
    const { disk, queue, perform, poison } = await rig()
    disk.fail({ on: 'sync', code: 'EIO' })
    const entries = ['a', 'b', 'c'].map((text) => new Entry(text))
    queue.submit(entries[0]!, 'durable')
    queue.submit(entries[1]!, of.urgency)
    await perform('write')
    queue.submit(entries[2]!, 'durable')
    await perform('writeDurably', 'sync', 'write')
    expect(poison).toHaveLength(1)
    expect(entries[0]!.events).toEqual(of.told)
    expect(entries[2]!.events).toEqual([])
    expect([...disk.syncsAfterFailure.values()]).toEqual([])
    expect(disk.pending).toEqual([])
  })

  it('poisons itself when a write fails for another reason than room', async () => {
    const { disk, queue, perform, poison } = await rig()
    disk.fail({ on: 'write', code: 'EIO' })
    const entry = new Entry('a')
    queue.submit(entry, 'durable')
    await perform('writeDurably', 'sync')
    expect(poison).toHaveLength(1)
    expect(entry.events).toEqual([])
  })

  it('refuses a group for which there is no room, leaves the log as it was, and goes on when there is', async () => {
    const { disk, log, queue, perform, poison } = await rig()
    const first = new Entry('first')
    queue.submit(first, 'durable')
    await perform('writeDurably')
    disk.fail({ on: 'write', code: 'ENOSPC' })
    const refused = new Entry('refused')
    queue.submit(refused, 'durable')
    await perform('writeDurably', 'truncate', 'size', 'sync')
    expect(refused.events).toEqual(['failed storage_full'])
    expect(log.nextOffset).toBe(1)
    expect(() => queue.submit(new Entry('while full'), 'durable')).toThrow(
      expect.objectContaining({ code: 'storage_full' }),
    )
    const again = new Entry('again')
    const reserved = await rig({ usesReserve: true })
    reserved.queue.submit(again, 'durable')
    await reserved.perform('writeDurably')
    expect(again.events.at(-1)).toBe('durable 0')
    expect(poison).toEqual([])
  })

  it('refuses what would need a new segment while there is no handle for one, and goes on when there is', async () => {
    const { disk, queue, perform, poison } = await rig({ segmentBytes: 4096 })
    const first = new Entry('x'.repeat(3900))
    queue.submit(first, 'durable')
    await perform('writeDurably', 'write', 'sync')
    disk.fail({ on: 'create', code: 'EMFILE' })
    const refused = new Entry('y'.repeat(3900))
    queue.submit(refused, 'durable')
    await perform('writeDurably', 'create')
    expect(refused.events).toEqual(['failed overloaded'])
    const again = new Entry('z'.repeat(3900))
    queue.submit(again, 'durable')
    await perform('writeDurably', 'write', 'sync', 'create', 'syncDirectory', 'truncate', 'size', 'close')
    expect(again.events.at(-1)).toBe('durable 1')
    expect(poison).toEqual([])
  })

  it('rolls between groups, never inside a batch', async () => {
    const { disk, log, queue } = await rig({ segmentBytes: 4096, maxQueuedBytes: 1_000_000 })
    const entries = Array.from({ length: 60 }, (_, i) => new Entry(`${i} ${'.'.repeat(200)}`))
    for (const entry of entries) queue.submit(entry, 'durable')
    await drive(disk, queue.flush())
    expect(entries.map(({ events }) => events.at(-1))).toEqual(entries.map((_, i) => `durable ${i}`))
    expect(log.segments().length).toBeGreaterThan(3)
    for (const { bytes, sealed } of log.segments()) if (sealed) expect(bytes).toBeLessThan(4096 + 300)
  })

  it('keeps nothing in memory with small groups that is not of groups', async () => {
    const { queue, log, perform } = await rig()
    const others = new Set<ArrayBufferLike>()
    const slabs = new Set<ArrayBufferLike>()
    for (let offset = 0; offset < 20; offset++) {
      others.add(Buffer.allocUnsafe(2000).buffer)
      queue.submit(new Entry('small'), 'durable')
      await perform('writeDurably')
      slabs.add(log.cache.find(offset)!.bytes.buffer)
    }
    expect(slabs.size).toBeLessThanOrEqual(2)
    for (const slab of slabs) expect(others.has(slab)).toBe(false)
  })

  it('finishes what it has and takes no more once it closes', async () => {
    const { disk, queue } = await rig()
    const entry = new Entry('last')
    queue.submit(entry, 'lazy')
    await drive(disk, queue.close())
    expect(entry.events.at(-1)).toBe('durable 0')
    expect(() => queue.submit(new Entry('late'), 'durable')).toThrow(expect.objectContaining({ code: 'overloaded' }))
  })

  it('holds a bounded part of what is written and not synced, however long the sync takes', async () => {
    const { queue, perform, disk } = await rig({ maxQueuedBytes: 2000 })
    let written = 0
    let refused = 0
    for (let i = 0; i < 200; i++) {
      const entry = new Entry('x'.repeat(100))
      entry.written = () => {
        written += 1
      }
      try {
        queue.submit(entry, 'written')
      } catch {
        refused += 1
      }
      await perform('write', 'truncate', 'size')
    }
    expect(refused).toBeGreaterThan(0)
    expect(written * 100).toBeLessThan(3 * 2000)
    expect(disk.pending.some(({ kind }) => kind === 'sync')).toBe(true)
    await perform('write', 'truncate', 'size', 'sync')
    expect(queue.durableOffset).toBeGreaterThan(0)
    expect(written).toBe(200 - refused)
  })
})
