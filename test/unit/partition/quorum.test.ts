import { TidingsError } from '@tidings/sdk/protocol'
import { describe, expect, it } from 'vitest'
import { Log } from '../../../src/log/log.ts'
import type { CommitEntry, Records } from '../../../src/partition/commit-entry.ts'
import { GroupCommit } from '../../../src/partition/commit-queue.ts'
import { LogPartition } from '../../../src/partition/partition.ts'
import type { PublishInput } from '../../../src/partition/topic.ts'
import { SimClock } from '../../../src/testing/sim-clock.ts'
import { SimDisk } from '../../../src/testing/sim-disk.ts'
import { SimRandom } from '../../../src/testing/sim-random.ts'
import { HeldQuorum, HeldTerm, noLeader } from '../../support/held-quorum.ts'
import { producerRig } from '../../support/producer-rig.ts'
import { settle } from '../../support/settle.ts'
import { environment, logOptions, record, topicSettings } from '../../support/storage.ts'

class Entry implements CommitEntry {
  readonly events: string[] = []
  readonly bytes: Uint8Array

  constructor(text: string) {
    this.bytes = record(text)
  }

  get size(): number {
    return this.bytes.length
  }

  take(): Records {
    return { bytes: this.bytes, count: 1, attributes: 0 }
  }

  written(offset: number): void {
    this.events.push(`written ${offset}`)
  }

  durable(offset: number): void {
    this.events.push(`durable ${offset}`)
  }

  failed(error: TidingsError): void {
    this.events.push(`failed ${error.code}`)
  }
}

interface Rig {
  disk: SimDisk
  quorum: HeldQuorum
  log: Log
  queue: GroupCommit
  submit(text: string, urgency?: 'durable' | 'written' | 'lazy'): Entry
  /** Lets the disk do all that was asked of it. */
  rest(): Promise<void>
}

async function rig(patch: { maxQueuedBytes?: number } = {}): Promise<Rig> {
  const disk = new SimDisk({ random: new SimRandom(7) })
  const clock = new SimClock()
  const { latch, metrics, space } = await environment(disk.mount(), clock)
  const log = await Log.create(logOptions(disk.mount(), { segmentBytes: 1_000_000 }))
  const quorum = new HeldQuorum()
  const queue = new GroupCommit({
    log,
    quorum,
    clock,
    latch,
    metrics,
    space,
    usesReserve: false,
    leaderEpoch: 1,
    maxQueuedBytes: patch.maxQueuedBytes ?? 100_000,
    lazySyncMs: 50,
    onProgress: () => undefined,
    onSettled: () => undefined,
  })
  const submit: Rig['submit'] = (text, urgency = 'durable') => {
    const entry = new Entry(text)
    queue.submit(entry, urgency)
    return entry
  }
  return { disk, quorum, log, queue, submit, rest: rested }
}

async function rested(): Promise<void> {
  for (let i = 0; i < 40; i++) await settle()
}

describe('a commit queue whose log is copied', () => {
  it('says written and durable when the quorum has it too, in the order of offsets', async () => {
    const { quorum, queue, submit, rest } = await rig()
    const entries = ['a', 'b', 'c'].map((text) => submit(text))
    await rest()
    expect(quorum.appends).toBe(1)
    expect(entries.map(({ events }) => events)).toEqual([[], [], []])
    expect(queue.durableOffset).toBe(0)
    quorum.move({ written: 2 })
    expect(entries.map(({ events }) => events)).toEqual([['written 0'], ['written 1'], []])
    quorum.move({ durable: 1 })
    expect(entries.map(({ events }) => events.at(-1))).toEqual(['durable 0', 'written 1', undefined])
    expect(queue.durableOffset).toBe(1)
    quorum.move({ written: 9, durable: 9 })
    expect(entries.map(({ events }) => events)).toEqual(
      [0, 1, 2].map((offset) => [`written ${offset}`, `durable ${offset}`]),
    )
  })

  it('counts itself: what the others have and its own disk does not is not durable', async () => {
    const { disk, quorum, submit, rest } = await rig()
    quorum.move({ durable: 100 })
    const release = disk.stall(({ kind }) => kind === 'sync')
    const entry = submit('a')
    await rest()
    expect(entry.events).toEqual(['written 0'])
    quorum.move({})
    expect(entry.events).toEqual(['written 0'])
    release()
    await rest()
    expect(entry.events).toEqual(['written 0', 'durable 0'])
  })

  it('takes nothing in that the quorum refuses', async () => {
    const { quorum, log, queue, submit, rest } = await rig()
    quorum.refusal = new TidingsError('not_enough_replicas', 'one of two')
    expect(() => submit('a')).toThrow(expect.objectContaining({ code: 'not_enough_replicas' }))
    expect(() => queue.admit(1)).toThrow(expect.objectContaining({ code: 'not_enough_replicas' }))
    await rest()
    expect(log.nextOffset).toBe(0)
  })

  it('says nothing while it may not speak, and goes on when it may again (R-FENCE)', async () => {
    const { quorum, submit, rest } = await rig()
    quorum.move({ durable: 100 })
    quorum.holds = false
    const entry = submit('a')
    await rest()
    expect(entry.events).toEqual([])
    quorum.holds = true
    quorum.move({})
    expect(entry.events).toEqual(['written 0', 'durable 0'])
  })

  it('bounds what waits for replicas', async () => {
    const { quorum, queue, submit, rest } = await rig({ maxQueuedBytes: 4000 })
    const entries: Entry[] = []
    const fill = async (): Promise<void> => {
      for (let i = 0; i < 100; i++) {
        entries.push(submit('x'.repeat(100)))
        await rest()
      }
    }
    await expect(fill()).rejects.toMatchObject({ code: 'overloaded' })
    expect(entries.length).toBeLessThan(10)
    quorum.move({ durable: entries.length - 1 })
    submit('again')
    quorum.move({ durable: 1000 })
    await queue.flush()
    expect(entries.every(({ events }) => events.length === 2)).toBe(true)
  })

  it('tells everybody once when leadership is lost, wherever their entry is', async () => {
    const { disk, quorum, log, queue, submit, rest } = await rig()
    const durable = submit('durable')
    await rest()
    quorum.move({ durable: 1 })
    const synced = submit('synced')
    await rest()
    quorum.move({ written: 2 })
    const release = disk.stall(({ kind }) => kind === 'write')
    const writing = submit('writing')
    await rest()
    const queued = submit('queued')
    await rest()
    queue.abandon(noLeader())
    expect(() => submit('late')).toThrow(expect.objectContaining({ code: 'no_leader' }))
    const isClosed = queue.close()
    release()
    await isClosed
    quorum.move({ durable: 100 })
    expect(durable.events).toEqual(['written 0', 'durable 0'])
    expect(synced.events).toEqual(['written 1', 'failed outcome_unknown'])
    expect(writing.events).toEqual(['failed outcome_unknown'])
    expect(queued.events).toEqual(['failed no_leader'])
    expect(log.nextOffset).toBe(3)
    expect(quorum.listeners).toBe(0)
  })

  it('waits for the replicas when it closes', async () => {
    const { quorum, queue, submit, rest } = await rig()
    const entry = submit('a')
    let isClosed = false
    const closed = queue.close().then(() => {
      isClosed = true
    })
    await rest()
    expect(isClosed).toBe(false)
    quorum.move({ durable: 1 })
    await closed
    expect(entry.events).toEqual(['written 0', 'durable 0'])
  })
})

interface PartitionRig {
  term: HeldTerm
  partition: LogPartition
  publish(text?: string): string[]
}

async function partitionRig(patch: Parameters<typeof topicSettings>[0] = {}): Promise<PartitionRig> {
  const disk = new SimDisk({ random: new SimRandom(7) })
  const term = new HeldTerm(7)
  const shared = await environment(disk.mount(), new SimClock(), { term })
  await disk.mount().makeDirectory('partitions')
  const partition = await LogPartition.create(shared, 'topic', 0, topicSettings(patch))
  const publish = (text = 'x'.repeat(1500)): string[] => {
    const heard: string[] = []
    partition.append(
      { bytes: record(text), count: 1, attributes: 0 },
      { committed: (offset) => heard.push(`committed ${offset}`), failed: (error) => heard.push(error.code) },
    )
    return heard
  }
  return { term, partition, publish }
}

describe('a partition whose logs are copied', () => {
  it('shows nothing that the quorum does not have on stable storage (R-READ)', async () => {
    const { term, partition, publish } = await partitionRig()
    const quorum = term.quorum('0/data')
    let changes = 0
    partition.onChange(() => changes++)
    const heard = publish()
    await rested()
    quorum.move({ written: 1 })
    expect([partition.nextOffset, partition.highWatermark, changes, heard]).toEqual([1, 0, 0, []])
    expect(partition.cached(0)).toBeUndefined()
    expect(await partition.load(0)).toEqual([])
    quorum.move({ durable: 1 })
    expect([partition.highWatermark, changes, heard]).toEqual([1, 1, ['committed 0']])
    expect(partition.cached(0)!.leaderEpoch).toBe(7)
  })

  it('shows of a buffered topic what is written everywhere, and answers that once', async () => {
    const { term, partition, publish } = await partitionRig({ durability: 'buffered' })
    const heard = publish()
    await rested()
    expect(heard).toEqual([])
    term.quorum('0/data').move({ written: 1 })
    expect([partition.highWatermark, heard]).toEqual([1, ['committed 0']])
    partition.abandon(noLeader())
    expect(heard).toEqual(['committed 0'])
  })

  it('shows and answers nothing new while it may not speak (R-FENCE)', async () => {
    const { term, partition, publish } = await partitionRig()
    const quorum = term.quorum('0/data')
    quorum.move({ durable: 100 })
    let changes = 0
    partition.onChange(() => changes++)
    quorum.holds = false
    const heard = publish()
    await rested()
    expect([partition.highWatermark, partition.holds, changes, heard]).toEqual([0, false, 0, []])
    quorum.holds = true
    quorum.move({})
    expect([partition.highWatermark, changes, heard]).toEqual([1, 1, ['committed 0']])
    quorum.holds = false
    expect(partition.holds).toBe(false)
    quorum.holds = true
    quorum.move({})
    expect(changes, 'whoever was turned away is woken').toBe(2)
  })

  it('lets go only of what is committed', async () => {
    const retention = { maxAgeMs: null, maxBytes: 1, untilAcked: false }
    const { term, partition, publish } = await partitionRig({ retention })
    for (let i = 0; i < 12; i++) {
      publish()
      await rested()
    }
    await partition.maintain(() => 0)
    expect(partition.startOffset).toBe(0)
    term.quorum('0/data').move({ durable: 5 })
    await partition.maintain(() => 0)
    expect(partition.startOffset).toBeGreaterThan(0)
    expect(partition.startOffset).toBeLessThanOrEqual(5)
  })

  it('moves its start when the quorum has what is to be remembered of the messages', async () => {
    const retention = { maxAgeMs: null, maxBytes: 1, untilAcked: false }
    const { term, partition } = await partitionRig({ retention })
    term.quorum('0/data').move({ durable: 100 })
    for (let i = 0; i < 12; i++) {
      partition.append(
        { bytes: record('x'.repeat(1500)), count: 1, attributes: 0, producer: { id: 9, sequence: i } },
        { committed: () => undefined, failed: () => undefined },
      )
      await rested()
    }
    await partition.maintain(() => 0)
    expect(partition.startOffset).toBe(0)
    const remembered = partition.logs().find(({ name }) => name === '0/remembered')!.log
    const { nextOffset } = remembered
    expect(nextOffset).toBeGreaterThan(0)
    await partition.maintain(() => 0)
    expect([partition.startOffset, remembered.nextOffset], 'it is not written again').toEqual([0, nextOffset])
    term.quorum('0/remembered').move({ durable: nextOffset })
    await partition.maintain(() => 0)
    expect(partition.startOffset).toBeGreaterThan(6)
  })

  it('is closed at once when leadership is lost, whatever waits', async () => {
    const { partition, publish } = await partitionRig()
    const heard = publish()
    await rested()
    partition.abandon(noLeader())
    await partition.close()
    expect(heard).toEqual(['outcome_unknown'])
  })
})

describe('a topic that loses its leader', () => {
  it('says of what is in its log that nobody knows, and of the rest that it is not stored', async () => {
    const rig = await producerRig({ term: new HeldTerm(3) })
    const heard: string[] = []
    const produce = (sequence: number): void =>
      rig.topic.produce(
        { producerId: 9, sequence, partitionCount: 1, count: 1, records: record('x') },
        (error, receipt) =>
          heard.push(`${sequence} ${error?.code} ${receipt ? `in doubt ${receipt.parts.length}` : 'not stored'}`),
      )
    produce(0)
    await rested()
    produce(1)
    rig.topic.abandon(noLeader())
    produce(2)
    expect(heard.sort()).toEqual(['0 outcome_unknown in doubt 0', '1 no_leader not stored', '2 overloaded not stored'])
    await rig.close()
  })

  it('says the same of a batch of which only a part is in the log', async () => {
    const rig = await producerRig({ partitions: 2, term: new HeldTerm(3) })
    const message = (partition: number): PublishInput => ({
      key: null,
      value: Buffer.from('x'),
      contentType: 'text/plain',
      headers: [],
      idempotencyKey: null,
      partition,
      ttlMs: null,
      valueChecked: true,
    })
    const codes: unknown[] = []
    const release = rig.disk.stall(({ path }) => path.includes('topic-0/data'))
    rig.topic.publishAll([message(0)], (error) => codes.push(error?.code))
    await rested()
    rig.topic.publishAll([message(0), message(1)], (error) => codes.push(error?.code))
    await rested()
    rig.topic.abandon(noLeader())
    release()
    await rig.close()
    expect(codes).toEqual(['outcome_unknown', 'outcome_unknown'])
  })
})
