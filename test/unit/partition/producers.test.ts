import { encodeRecord, murmur2, partitionOf, recordValueChecked, type TidingsError } from '@tidings/sdk/protocol'
import { describe, expect, it } from 'vitest'
import { EntryError, type HostedTopic, type ProducedFrame, type ProducedReceipt } from '../../../src/partition/topic.ts'
import { type ProducerRig, producerRig } from '../../support/producer-rig.ts'
import { record } from '../../support/storage.ts'

const KEYS = ['a', 'b', 'c', 'd', 'e', 'f']

function keyed(key: string, value: string): Uint8Array {
  return encodeRecord({
    key: Buffer.from(key),
    value: Buffer.from(value),
    contentType: 'text/plain',
    headers: [],
    idempotencyKey: null,
    expiresAt: null,
    valueChecked: true,
  })
}

function frame(sequence: number, records: readonly Uint8Array[], patch: Partial<ProducedFrame> = {}): ProducedFrame {
  const bytes = Buffer.concat(records)
  return { producerId: 7, sequence, partitionCount: 1, count: records.length, records: bytes, ...patch }
}

function texts(...values: string[]): Uint8Array[] {
  return values.map(record)
}

function produce(topic: HostedTopic, made: ProducedFrame): Promise<ProducedReceipt> {
  return new Promise((resolve, reject) => {
    topic.produce(made, (error, receipt) => (error ? reject(error) : resolve(receipt!)))
  })
}

function refusal(topic: HostedTopic, made: ProducedFrame): Promise<TidingsError> {
  return produce(topic, made).then(
    () => Promise.reject(new Error('was stored')),
    (error: TidingsError) => error,
  )
}

async function stored(rig: ProducerRig, partition = 0): Promise<string[]> {
  return (await rig.values())[partition]!
}

describe('a producer', () => {
  it('has its frames stored in order, each once, and is told where', async () => {
    const rig = await producerRig()
    const first = await produce(rig.topic, frame(0, texts('a', 'b')))
    expect(first).toEqual({
      parts: [{ partition: 0, baseOffset: 0, timestamp: rig.clock.now(), count: 2 }],
      partOf: null,
      duplicate: false,
    })
    await produce(rig.topic, frame(1, texts('c')))
    expect(await produce(rig.topic, frame(0, texts('a', 'b')))).toEqual({ ...first, duplicate: true })
    expect(await stored(rig)).toEqual(['a', 'b', 'c'])
  })

  it('gets one answer for a frame and for its repetition while it is under way', async () => {
    const rig = await producerRig()
    const both = await Promise.all([produce(rig.topic, frame(0, texts('a'))), produce(rig.topic, frame(0, texts('a')))])
    expect(both.map(({ duplicate }) => duplicate)).toEqual([false, true])
    expect(await stored(rig)).toEqual(['a'])
  })

  it('is known again after a crash, by its id and the numbers of its frames', async () => {
    const rig = await producerRig()
    const first = await produce(rig.topic, frame(0, texts('a', 'b')))
    await rig.crash()
    expect(await produce(rig.topic, frame(0, texts('a', 'b')))).toEqual({ ...first, duplicate: true })
    await produce(rig.topic, frame(1, texts('c')))
    expect(await stored(rig)).toEqual(['a', 'b', 'c'])
  })

  it('must not leave a number out, and may go on once that came', async () => {
    const rig = await producerRig()
    await produce(rig.topic, frame(0, texts('a')))
    const error = await refusal(rig.topic, frame(2, texts('c')))
    expect(error).toMatchObject({ code: 'overloaded', message: expect.stringContaining('frame 1') as string })
    await produce(rig.topic, frame(1, texts('b')))
    await produce(rig.topic, frame(2, texts('c')))
    expect(await stored(rig)).toEqual(['a', 'b', 'c'])
  })

  it('uses the number of a refused frame for the next one', async () => {
    const rig = await producerRig({ settings: { maxMessageBytes: 3 } })
    const error = await refusal(rig.topic, frame(0, texts('a', 'long')))
    expect(error).toMatchObject({ code: 'message_too_large', entry: 1 })
    expect(error).toBeInstanceOf(EntryError)
    expect(await refusal(rig.topic, frame(1, texts('b')))).toMatchObject({ code: 'overloaded' })
    await produce(rig.topic, frame(0, texts('a')))
    await produce(rig.topic, frame(1, texts('b')))
    expect(await stored(rig)).toEqual(['a', 'b'])
  })

  it('has at most eight frames under way, which are those that a partition remembers', async () => {
    const rig = await producerRig()
    const frames = Array.from({ length: 9 }, (_, i) => frame(i, texts(`${i}`)))
    const answers = await Promise.allSettled(frames.map((one) => produce(rig.topic, one)))
    expect(answers.map(({ status }) => status)).toEqual([...Array<string>(8).fill('fulfilled'), 'rejected'])
    await produce(rig.topic, frame(8, texts('8')))
    expect(await produce(rig.topic, frame(1, texts('1')))).toMatchObject({ duplicate: true })
    expect(await refusal(rig.topic, frame(0, texts('0')))).toMatchObject({ code: 'conflict' })
    expect(await stored(rig)).toEqual(['0', '1', '2', '3', '4', '5', '6', '7', '8'])
  })

  it('is told of a number that it used for another frame', async () => {
    const rig = await producerRig()
    await produce(rig.topic, frame(0, texts('a')))
    expect(await refusal(rig.topic, frame(0, texts('a', 'b')))).toMatchObject({ code: 'conflict' })
  })

  it('is forgotten after five minutes without a frame', async () => {
    const rig = await producerRig({ settings: { deduplicationWindowMs: 1000 } })
    await produce(rig.topic, frame(0, texts('a')))
    rig.clock.advance(299_999)
    expect(await produce(rig.topic, frame(0, texts('a')))).toMatchObject({ duplicate: true })
    rig.clock.advance(1)
    expect(await produce(rig.topic, frame(0, texts('a')))).toMatchObject({ duplicate: false })
  })

  it('cannot have a frame stored behind a later one that is under way, after a crash that let that one in', async () => {
    const rig = await producerRig()
    await produce(rig.topic, frame(0, texts('a')))
    await rig.crash()
    const later = produce(rig.topic, frame(2, texts('c')))
    expect(await refusal(rig.topic, frame(1, texts('b')))).toMatchObject({ code: 'conflict' })
    await later
    expect(await stored(rig)).toEqual(['a', 'c'])
  })

  it('is not forgotten for a clock that is set forward or back', async () => {
    const rig = await producerRig()
    for (const [sequence, ms] of [3_600_000, -7_200_000, 86_400_000].entries()) {
      await produce(rig.topic, frame(sequence, texts('a')))
      rig.clock.jumpWall(ms)
      expect(await produce(rig.topic, frame(sequence, texts('a')))).toMatchObject({ duplicate: true })
    }
    rig.clock.jumpWall(-86_400_000)
    await rig.crash()
    expect(await produce(rig.topic, frame(2, texts('a')))).toMatchObject({ duplicate: true })
    expect(await stored(rig)).toEqual(['a', 'a', 'a'])
  })
})

describe('a full disk', () => {
  it('lets no later frame in before the one that failed', async () => {
    const rig = await producerRig()
    await produce(rig.topic, frame(0, texts('a')))
    rig.disk.fail({ on: 'write', code: 'ENOSPC', path: (path) => path.endsWith('.log') })
    const failing = [1, 2, 3].map((sequence) => refusal(rig.topic, frame(sequence, texts(`${sequence}`))))
    for (const error of await Promise.all(failing)) expect(error).toMatchObject({ code: 'storage_full' })
    await rig.space.check()
    expect(await refusal(rig.topic, frame(2, texts('2')))).toMatchObject({ code: 'overloaded' })
    for (const sequence of [1, 2, 3]) await produce(rig.topic, frame(sequence, texts(`${sequence}`)))
    expect(await stored(rig)).toEqual(['a', '1', '2', '3'])
  })

  it('leaves a frame in part, of which a repetition stores the rest', async () => {
    const rig = await producerRig({ partitions: 2 })
    const [one, other] = [0, 1].map((partition) => KEYS.find((key) => partitionOf(Buffer.from(key), 2) === partition)!)
    const made = (sequence: number): ProducedFrame =>
      frame(sequence, [keyed(one!, `one ${sequence}`), keyed(other!, `other ${sequence}`)], { partitionCount: 2 })
    rig.disk.fail({ on: 'write', code: 'ENOSPC', path: (path) => path.includes('topic-1/data') })
    const outcome = await new Promise<{ error: TidingsError | null; receipt: ProducedReceipt | undefined }>(
      (resolve) => {
        rig.topic.produce(made(0), (error, receipt) => resolve({ error, receipt }))
      },
    )
    expect(outcome.error).toMatchObject({ code: 'storage_full' })
    expect(outcome.receipt?.parts.map(({ partition }) => partition)).toEqual([0])
    expect(await refusal(rig.topic, made(1))).toMatchObject({ code: 'overloaded' })
    await rig.space.check()
    expect(await produce(rig.topic, made(0))).toMatchObject({ duplicate: false, parts: [{}, {}] })
    await produce(rig.topic, made(1))
    expect((await rig.values()).map((values) => values.length)).toEqual([2, 2])
  })
})

describe('a refusal', () => {
  it('says of a frame that is there in part, or may be, that it may be stored', async () => {
    const rig = await producerRig({ partitions: 2 })
    const [one, other] = [0, 1].map((partition) => KEYS.find((key) => partitionOf(Buffer.from(key), 2) === partition)!)
    const made = (sequence: number): ProducedFrame =>
      frame(sequence, [keyed(one!, `one ${sequence}`), keyed(other!, `other ${sequence}`)], { partitionCount: 2 })
    const tried = (again: ProducedFrame): Promise<[string | undefined, number[] | undefined]> =>
      new Promise((resolve) => {
        rig.topic.produce(again, (error, receipt) =>
          resolve([error?.code, receipt?.parts.map(({ partition }) => partition)]),
        )
      })
    rig.disk.fail({ on: 'write', code: 'ENOSPC', path: (path) => path.includes('topic-1/data') })
    expect(await tried(made(0))).toEqual(['storage_full', [0]])
    // The disk counts as full by now, so the repetition is refused before anything is tried.
    expect(await tried(made(0))).toEqual(['storage_full', [0]])
    expect(await tried(made(1))).toEqual(['overloaded', undefined])
    expect(rig.topic.turnAway({ producerId: 7, sequence: 0 })).toBe(true)
    expect(rig.topic.turnAway({ producerId: 7, sequence: 1 })).toBe(false)
    await rig.space.check()
    for (let sequence = 0; sequence < 12; sequence++) await produce(rig.topic, made(sequence))
    expect(await tried(made(2))).toEqual(['conflict', []])
    expect(await tried({ ...made(11), count: 1 })).toEqual(['invalid_argument', [0, 1]])
  })

  it('that came before the topic heard of the frame keeps those behind it out, also of a producer not known', async () => {
    const rig = await producerRig()
    expect(rig.topic.turnAway({ producerId: 7, sequence: 0 })).toBe(false)
    expect(await refusal(rig.topic, frame(1, texts('b')))).toMatchObject({ code: 'overloaded' })
    await produce(rig.topic, frame(0, texts('a')))
    await produce(rig.topic, frame(1, texts('b')))
    await rig.crash()
    expect(rig.topic.turnAway({ producerId: 7, sequence: 2 })).toBe(false)
    expect(await refusal(rig.topic, frame(3, texts('d')))).toMatchObject({ code: 'overloaded' })
    await produce(rig.topic, frame(2, texts('c')))
    expect(await stored(rig)).toEqual(['a', 'b', 'c'])
  })
})

describe('a frame', () => {
  it('goes to the partitions of its keys, and without keys to one, the same after the topic has grown', async () => {
    const rig = await producerRig({ partitions: 4 })
    const records = KEYS.map((key) => keyed(key, `of ${key}`))
    const made = frame(0, [...records, record('none')], { partitionCount: 3 })
    const receipt = await produce(rig.topic, made)
    const values = await rig.values()
    const places = KEYS.map((key) => (murmur2(Buffer.from(key)) & 0x7fffffff) % 3)
    places.forEach((partition, i) => {
      expect(receipt.parts[receipt.partOf![i]!]!.partition).toBe(partition)
      expect(values[partition]).toContain(`of ${KEYS[i]}`)
    })
    expect(values[3]).toEqual([])
    expect(await produce(rig.topic, made)).toEqual({ ...receipt, duplicate: true })
    expect(await rig.values()).toEqual(values)
    expect(receipt.parts[receipt.partOf![6]!]!.partition).toBe(7 % 3)
  })

  it('does not have its word taken for what its values are', async () => {
    const rig = await producerRig()
    await produce(rig.topic, frame(0, texts('a')))
    const [batch] = await rig.topic.partitions[0]!.load(0)
    expect(recordValueChecked(batch!.bytes, batch!.positionOf(0))).toBe(false)
  })

  it('is refused whole for one value that breaks the schema, and names it', async () => {
    const rig = await producerRig({ settings: { schema: { type: 'number' } } })
    const json = (value: string): Uint8Array =>
      encodeRecord({
        key: null,
        value: Buffer.from(value),
        contentType: 'application/json',
        headers: [],
        idempotencyKey: null,
        expiresAt: null,
        valueChecked: false,
      })
    const error = await refusal(rig.topic, frame(0, [json('1'), json('"x"')]))
    expect(error).toMatchObject({ code: 'schema_violation', entry: 1 })
    await produce(rig.topic, frame(0, [json('1'), json('2')]))
    const [batch] = await rig.topic.partitions[0]!.load(0)
    expect(recordValueChecked(batch!.bytes, batch!.positionOf(0))).toBe(true)
    expect(await stored(rig)).toEqual(['1', '2'])
  })

  it('is known again when it is stored, whatever the topic asks of its messages by now', async () => {
    const rig = await producerRig({ partitions: 2 })
    const records = texts('a long one', 'b')
    const first = await produce(rig.topic, frame(0, records, { partitionCount: 2 }))
    const { settings } = rig.topic
    rig.topic.configure({ ...settings, maxMessageBytes: 3, schema: { type: 'number' } })
    const again = await produce(rig.topic, frame(0, records, { partitionCount: 2 }))
    expect(again).toMatchObject({ duplicate: true, parts: first.parts })
    // What is to be stored is held to it.
    const error = await refusal(rig.topic, frame(1, records, { partitionCount: 2 }))
    expect(error).toMatchObject({ code: 'message_too_large', entry: 0 })
  })

  it('is refused where it is not what it says, or a record has an Idempotency-Key', async () => {
    const rig = await producerRig()
    const secret = encodeRecord({
      key: null,
      value: Buffer.from('a'),
      contentType: 'text/plain',
      headers: [],
      idempotencyKey: Buffer.from([0xff, 0x73]),
      expiresAt: null,
      valueChecked: true,
    })
    expect(await refusal(rig.topic, frame(0, [secret]))).toMatchObject({ code: 'invalid_argument', entry: 0 })
    for (const wrong of [
      frame(0, texts('a'), { count: 2 }),
      frame(0, texts('a', 'b'), { count: 1 }),
      frame(0, []),
      frame(0, texts('a'), { producerId: 0 }),
    ]) {
      expect(await refusal(rig.topic, wrong)).toMatchObject({ code: 'invalid_argument' })
    }
    expect(await refusal(rig.topic, frame(0, texts('a'), { partitionCount: 2 }))).toMatchObject({
      code: 'partition_not_found',
    })
  })
})
