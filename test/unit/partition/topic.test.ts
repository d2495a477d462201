import { murmur2, partitionOf, type TidingsError } from '@tidings/sdk/protocol'
import { describe, expect, it } from 'vitest'
import type { PartitionEnvironment } from '../../../src/partition/partition.ts'
import { LogPartition } from '../../../src/partition/partition.ts'
import { HostedTopic, type PublishInput, type PublishReceipt } from '../../../src/partition/topic.ts'
import { SimClock } from '../../../src/testing/sim-clock.ts'
import { SimDisk } from '../../../src/testing/sim-disk.ts'
import { SimRandom } from '../../../src/testing/sim-random.ts'
import { environment, topicSettings } from '../../support/storage.ts'

interface Rig {
  disk: SimDisk
  clock: SimClock
  shared: PartitionEnvironment
  topic: HostedTopic
}

async function open(disk: SimDisk, clock: SimClock, partitions: number, isNew: boolean): Promise<Rig> {
  const mounted = disk.mount()
  const shared = await environment(mounted, clock)
  const settings = topicSettings({ partitions, deduplicationWindowMs: 1000 })
  if (isNew) await mounted.makeDirectory('partitions')
  const hosted: LogPartition[] = []
  for (let number = 0; number < partitions; number++) {
    const make = isNew ? LogPartition.create : LogPartition.open
    hosted.push(await make(shared, 'topic', number, settings))
  }
  const random = new SimRandom(5)
  const topic = new HostedTopic({ id: 'topic', name: 'orders' }, settings, hosted, {
    clock,
    random,
    environment: shared,
  })
  await topic.recover()
  return { disk, clock, shared, topic }
}

function rig(partitions = 1): Promise<Rig> {
  return open(new SimDisk({ random: new SimRandom(2) }), new SimClock(), partitions, true)
}

function input(value: string, patch: { key?: string; idempotencyKey?: string; partition?: number } = {}): PublishInput {
  return {
    key: patch.key === undefined ? null : Buffer.from(patch.key),
    value: Buffer.from(value),
    contentType: 'text/plain',
    headers: [],
    idempotencyKey: patch.idempotencyKey === undefined ? null : Buffer.from(patch.idempotencyKey),
    partition: patch.partition ?? null,
    ttlMs: null,
    valueChecked: true,
  }
}

function publish(topic: HostedTopic, message: PublishInput): Promise<PublishReceipt> {
  return new Promise((resolve, reject) => {
    topic.publish(message, (error, receipt) => (error ? reject(error) : resolve(receipt as PublishReceipt)))
  })
}

function publishAll(topic: HostedTopic, messages: PublishInput[]): Promise<PublishReceipt[]> {
  return new Promise((resolve, reject) => {
    topic.publishAll(messages, (error, receipts) => (error ? reject(error) : resolve(receipts as PublishReceipt[])))
  })
}

describe('the partitioner', () => {
  it('agrees with the known values of Kafka (UtilsTest.testMurmur2)', () => {
    const known: [string, number][] = [
      ['21', -973932308],
      ['foobar', -790332482],
      ['a-little-bit-long-string', -985981536],
      ['a-little-bit-longer-string', -1486304829],
      ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
      ['abc', 479470107],
    ]
    for (const [key, hash] of known) expect(murmur2(Buffer.from(key))).toBe(hash)
    expect(partitionOf(Buffer.from('21'), 7)).toBe((-973932308 & 0x7fffffff) % 7)
  })
})

describe('a topic', () => {
  it('chooses the partition: explicit, by key, by idempotency key, else spread', async () => {
    const { topic } = await rig(4)
    expect((await publish(topic, input('a', { key: 'k', partition: 3 }))).partition).toBe(3)
    const byKey = partitionOf(Buffer.from('k'), 4)
    expect((await publish(topic, input('a', { key: 'k', idempotencyKey: 'other' }))).partition).toBe(byKey)
    const byIdempotencyKey = partitionOf(Buffer.from('i'), 4)
    expect((await publish(topic, input('a', { idempotencyKey: 'i' }))).partition).toBe(byIdempotencyKey)
    const spread = await publishAll(
      topic,
      Array.from({ length: 8 }, () => input('a')),
    )
    expect(new Set(spread.map(({ partition }) => partition)).size).toBe(4)
  })

  it('gives offsets without gaps, in the order of the request', async () => {
    const { topic } = await rig()
    const receipts = await publishAll(
      topic,
      Array.from({ length: 50 }, (_, i) => input(String(i))),
    )
    expect(receipts.map(({ offset }) => offset)).toEqual(Array.from({ length: 50 }, (_, i) => i))
    expect((await publish(topic, input('next'))).offset).toBe(50)
  })

  it('answers a repeated idempotency key with the first position, also while the first is under way', async () => {
    const { topic, clock } = await rig()
    const message = input('once', { idempotencyKey: 'x' })
    const [first, second] = await Promise.all([publish(topic, message), publish(topic, message)])
    expect(second).toEqual({ ...first, duplicate: true })
    expect(await publish(topic, input('again', { idempotencyKey: 'x' }))).toEqual({ ...first, duplicate: true })
    clock.advance(1000)
    expect((await publish(topic, message)).offset).toBe(1)
  })

  it('knows a key across partitions', async () => {
    const { topic } = await rig(3)
    const first = await publish(topic, input('a', { idempotencyKey: 'x', partition: 0 }))
    expect(await publish(topic, input('a', { idempotencyKey: 'x', partition: 2 }))).toEqual({
      ...first,
      duplicate: true,
    })
  })

  it('knows keys inside a batch, and between batches', async () => {
    const { topic } = await rig(2)
    const keyed = (key: string): PublishInput => input(key, { idempotencyKey: key })
    const once = await publishAll(topic, [keyed('a'), keyed('b'), keyed('a')])
    expect(once[2]).toEqual({ ...once[0], duplicate: true })
    const again = await publishAll(topic, [keyed('b'), keyed('c'), keyed('b')])
    expect(again[0]).toEqual({ ...once[1], duplicate: true })
    expect(again[1]!.duplicate).toBeUndefined()
    expect(again[2]).toEqual(again[0])
  })

  it('still knows the keys after a crash, stored or not answered', async () => {
    const first = await rig(2)
    const receipt = await publish(first.topic, input('a', { idempotencyKey: 'x' }))
    first.disk.crash('power')
    const again = await open(first.disk, first.clock, 2, false)
    expect(await publish(again.topic, input('a', { idempotencyKey: 'x' }))).toEqual({ ...receipt, duplicate: true })
  })

  it('forgets a key whose publish was refused', async () => {
    const { topic, disk } = await rig()
    disk.fail({ on: 'write', code: 'ENOSPC' })
    const message = input('a', { idempotencyKey: 'x' })
    const [refused, waiting] = await Promise.allSettled([publish(topic, message), publish(topic, message)])
    for (const one of [refused, waiting]) {
      expect((one as PromiseRejectedResult).reason as TidingsError).toMatchObject({ code: 'storage_full' })
    }
  })

  it('refuses what it cannot take before anything is stored', async () => {
    const { topic } = await rig(2)
    const large = input('x'.repeat(topic.settings.maxMessageBytes + 1))
    await expect(publish(topic, large)).rejects.toMatchObject({ code: 'message_too_large' })
    await expect(publishAll(topic, [input('a'), input('b', { partition: 2 })])).rejects.toMatchObject({
      code: 'partition_not_found',
    })
    expect(topic.partitions.map(({ nextOffset }) => nextOffset)).toEqual([0, 0])
  })

  it('says which entries of a batch were stored when a later part failed', async () => {
    const { topic, disk } = await rig(2)
    disk.fail({ on: 'write', path: (path) => path.includes('topic-1/'), code: 'ENOSPC' })
    const messages = [0, 1, 0, 1].map((partition, i) => input(String(i), { partition }))
    await expect(publishAll(topic, messages)).rejects.toThrow('entries 0, 2')
  })

  it('keeps time from going back in its log', async () => {
    const { topic, clock } = await rig()
    const first = await publish(topic, input('a'))
    clock.jumpWall(-60_000)
    const second = await publish(topic, input('b'))
    expect(second.timestamp).toBe(first.timestamp)
  })
})
