import { DEAD_LETTER_DEFAULTS, recordHeaders, recordKey, recordValueAt, TidingsError } from '@tidings/sdk/protocol'
import { describe, expect, it } from 'vitest'
import type { PublishInput } from '../../../src/partition/topic.ts'
import { deadLetterTopic, originOf } from '../../../src/subscription/dead-letter.ts'
import type { Attachment } from '../../../src/subscription/subscription.ts'
import { FakeConsumer, messages } from '../../support/fake-consumer.ts'
import { MemoryTopic } from '../../support/memory-topic.ts'
import { ids, SubscriptionRig } from '../../support/subscription-rig.ts'

const deadLetter = { ...DEAD_LETTER_DEFAULTS, topic: 'dlq', maxDeliveries: 2 }
const backoff = { minMs: 0, maxMs: 0 }

function message(value: string, more: Partial<PublishInput> = {}): PublishInput {
  return {
    key: Buffer.from('k'),
    value: Buffer.from(value),
    contentType: 'text/plain',
    headers: [['color', 'red']],
    idempotencyKey: null,
    partition: null,
    ttlMs: null,
    valueChecked: true,
    ...more,
  }
}

interface Scene {
  rig: SubscriptionRig
  dlq: MemoryTopic
  consumer: FakeConsumer
  attachment: Attachment
}

async function scene(patch: object = {}): Promise<Scene> {
  const rig = await SubscriptionRig.open({ deadLetter, backoff, ...patch })
  const dlq = new MemoryTopic(rig.clock, 'dlq')
  await rig.directory.add(dlq)
  const consumer = new FakeConsumer('a')
  return { rig, dlq, consumer, attachment: rig.subscription.attach(consumer) }
}

/** What a dead letter says, in one line, and its headers. */
function letters(dlq: MemoryTopic): { value: string; headers: Record<string, string> }[] {
  return Array.from({ length: dlq.partition.nextOffset }, (_, offset) => {
    const { bytes, ...batch } = dlq.partition.cached(offset)!
    const at = dlq.partition.cached(offset)!.positionOf(offset)
    expect(batch.baseOffset).toBe(offset)
    const value = bytes.subarray(recordValueAt(bytes, at), at + 4 + bytes.readUInt32BE(at)).toString()
    return { value, headers: Object.fromEntries(recordHeaders(bytes, at).headers) }
  })
}

describe('dead letters', () => {
  it('are copies of what failed for the last time, with where they come from and why', async () => {
    const { rig, dlq, consumer, attachment } = await scene()
    rig.partition.append([message('one', { ttlMs: 1_000_000 })])
    await rig.rest()
    attachment.nack(ids(0, 0), 0, 'bad address')
    await rig.rest()
    expect(consumer.take()).toEqual([...messages(0, 0, 1), ...messages(0, 0, 1, 2)])
    attachment.nack(ids(0, 0))
    await rig.rest()
    expect(letters(dlq)).toEqual([
      {
        value: 'one',
        headers: {
          color: 'red',
          'tidings-original-topic': 'orders',
          'tidings-original-id': '0:0',
          'tidings-subscription': 'billing',
          'tidings-subscription-topic': 'orders',
          'tidings-attempts': '2',
          'tidings-reason': 'bad address',
        },
      },
    ])
    const batch = dlq.partition.cached(0)!
    // No client may send such a key, so that none can pretend that the letter is there.
    expect(batch.bytes.includes('\0dead-letter:')).toBe(true)
    expect(Buffer.from(recordKey(batch.bytes, batch.positionOf(0))!).toString()).toBe('k')
    expect(batch.attributes & 2).toBe(0)
    expect(rig.subscription.state()).toMatchObject({ backlog: 0, cursors: [{ ackedThrough: 1 }] })
  })

  it('name how the last delivery ended where the consumer did not say', async () => {
    const { rig, dlq, attachment } = await scene({
      deadLetter: { ...deadLetter, maxDeliveries: 1 },
      ackDeadlineMs: 100,
    })
    rig.partition.append([message('a'), message('b'), message('c'), message('d')])
    await rig.rest()
    attachment.nack(ids(0, 0))
    attachment.reject(ids(0, 1))
    attachment.extend(ids(0, 3), 5000)
    await rig.pass(200)
    attachment.detach()
    await rig.rest()
    expect(letters(dlq).map(({ headers }) => headers['tidings-reason'])).toEqual([
      'nack',
      'rejected',
      'deadline',
      'disconnected',
    ])
  })

  it('keep a message unacknowledged until they are durable', async () => {
    const { rig, dlq, consumer, attachment } = await scene()
    dlq.isHeld = true
    rig.partition.append([message('one')])
    await rig.rest()
    const answers: unknown[] = []
    expect(attachment.reject(ids(0, 0), 'never', (error, acked) => answers.push([error, acked]))).toBe(1)
    await rig.pass(100_000)
    expect(answers).toEqual([])
    expect(rig.subscription.state()).toMatchObject({ deadLettering: 1, cursors: [{ ackedThrough: 0 }] })
    consumer.take()
    dlq.settle()
    await rig.rest()
    expect(answers).toEqual([[null, ids(0, 0)]])
    expect(letters(dlq)).toHaveLength(1)
    const again = await rig.restart('power')
    expect(again.subscription.state().cursors).toEqual([{ partition: 0, ackedThrough: 1, ackedAhead: 0 }])
  })

  it('are tried again when the topic cannot be written, while other messages go on', async () => {
    const { rig, dlq, consumer, attachment } = await scene()
    dlq.failure = new TidingsError('storage_full', 'no room')
    rig.partition.append([message('one')])
    await rig.rest()
    const answers: (string | undefined)[] = []
    attachment.reject(ids(0, 0), undefined, (error) => answers.push((error as TidingsError | null)?.code))
    await rig.rest()
    expect(answers).toEqual(['storage_full'])
    await rig.pass(60_000)
    expect(dlq.publishes).toBeGreaterThan(3)
    expect(dlq.publishes).toBeLessThan(15)
    rig.partition.append([message('two')])
    await rig.rest()
    expect(consumer.take()).toEqual(messages(0, 0, 2))
    dlq.failure = null
    await rig.pass(31_000)
    expect(letters(dlq).map(({ value }) => value)).toEqual(['one'])
    expect(rig.subscription.state().deadLettering).toBe(0)
  })

  it('are not held up by one that the topic does not take', async () => {
    const { rig, dlq, attachment } = await scene()
    dlq.settings.maxMessageBytes = 3
    rig.partition.append([message('much too long'), message('two'), message('six')])
    await rig.rest()
    attachment.reject(ids(0, 0, 1))
    await rig.rest()
    attachment.reject(ids(0, 2))
    await rig.pass(10_000)
    expect(letters(dlq).map(({ value }) => value)).toEqual(['two', 'six'])
    expect(rig.subscription.state().deadLettering).toBe(1)
    dlq.settings.maxMessageBytes = 100
    await rig.pass(10_000)
    expect(letters(dlq)).toHaveLength(3)
    expect(rig.subscription.state().deadLettering).toBe(0)
  })

  it('are not doubled by a crash between the letter and the acknowledgement', async () => {
    const { rig, dlq, attachment } = await scene()
    rig.partition.append([message('one')])
    await rig.rest()
    attachment.nack(ids(0, 0), 0)
    await rig.rest()
    rig.partition.cursorQueue.isAutomatic = false
    attachment.nack(ids(0, 0))
    rig.partition.cursorQueue.write()
    rig.partition.cursorQueue.sync()
    await rig.rest()
    expect(letters(dlq)).toHaveLength(1)
    const again = await rig.restart('kill')
    await again.directory.add(dlq)
    expect(again.subscription.state().deadLettering).toBe(1)
    again.subscription.attach(new FakeConsumer('b'))
    await again.rest()
    rig.clock.runNext()
    await again.rest()
    expect(again.subscription.state()).toMatchObject({ deadLettering: 0, backlog: 0 })
    expect(letters(dlq)).toHaveLength(1)
  })

  it('go out in bounded parts and in the order of offsets', async () => {
    const { rig, dlq, attachment } = await scene({ deadLetter: { ...deadLetter, maxDeliveries: 1 } })
    rig.partition.append(Array.from({ length: 1000 }, (_, i) => message(String(i))))
    for (let turn = 0; turn < 4; turn++) {
      await rig.rest()
      attachment.nack(ids(0, ...Array.from({ length: 1000 }, (_, i) => i)))
    }
    await rig.rest()
    expect(letters(dlq).map(({ value }) => Number(value))).toEqual(Array.from({ length: 1000 }, (_, i) => i))
    expect(dlq.publishes).toBeGreaterThanOrEqual(4)
  })

  it('cannot be written of bytes that retention removed: the message is settled', async () => {
    const { rig, dlq, attachment } = await scene()
    dlq.failure = new TidingsError('storage_full', 'no room')
    rig.partition.append([message('one'), message('two')])
    await rig.rest()
    attachment.reject(ids(0, 0, 1))
    await rig.rest()
    rig.partition.retain(1)
    dlq.failure = null
    await rig.pass(1000)
    expect(letters(dlq).map(({ value }) => value)).toEqual(['two'])
    expect(rig.subscription.state()).toMatchObject({ deadLettering: 0, backlog: 0 })
  })

  it('end with the setting: what waited for one comes again', async () => {
    const { rig, dlq, consumer, attachment } = await scene()
    dlq.failure = new TidingsError('storage_full', 'no room')
    rig.partition.append([message('one')])
    await rig.rest()
    attachment.reject(ids(0, 0))
    await rig.rest()
    consumer.take()
    rig.subscription.update({ ...rig.subscription.settings, deadLetter: null })
    await rig.rest()
    expect(consumer.take()).toEqual(messages(0, 0, 1, 2))
    expect(attachment.reject(ids(0, 0))).toBe(1)
    await rig.rest()
    expect(rig.subscription.state().backlog).toBe(0)
  })

  it.each([
    ['a seek', (rig: SubscriptionRig) => rig.subscription.seek('latest')],
    [
      'the setting',
      (rig: SubscriptionRig) => {
        rig.subscription.update({ ...rig.subscription.settings, deadLetter: null })
        return Promise.resolve()
      },
    ],
  ])('that %s makes needless keep nobody waiting', async (_, end) => {
    const { rig, dlq, attachment } = await scene()
    dlq.failure = new TidingsError('storage_full', 'full')
    rig.partition.publish(2)
    await rig.rest()
    attachment.reject(ids(0, 0))
    await rig.pass(1000)
    const answers: (Error | null)[] = []
    attachment.reject(ids(0, 1), undefined, (error) => answers.push(error))
    await rig.rest()
    expect(answers).toEqual([])
    await end(rig)
    await rig.rest()
    expect(answers).toEqual([null])
  })

  it('are written after a restart for what had been delivered for the last time, with no other event', async () => {
    const first = await scene({ type: 'key_shared', deadLetter: { ...deadLetter, maxDeliveries: 1 } })
    first.rig.partition.append([message('a'), message('b')])
    await first.rig.rest()
    expect(first.consumer.take()).toEqual(messages(0, 0, 2))
    const rig = await first.rig.restart('kill')
    await rig.directory.add(first.dlq)
    await rig.rest()
    expect(letters(first.dlq).map(({ value }) => value)).toEqual(['a', 'b'])
    expect(rig.subscription.state().backlog).toBe(0)
  })

  it('free the key of a message where keys have an order, and come back through it', async () => {
    const { rig, dlq, consumer, attachment } = await scene({ type: 'key_shared' })
    dlq.isHeld = true
    const [first, second] = [Buffer.from('one'), Buffer.from('two')]
    rig.partition.append([message('a', { key: first }), message('b', { key: second })])
    await rig.rest()
    consumer.take()
    attachment.reject(ids(0, 0), 'bad')
    await rig.rest()
    rig.partition.append([message('c', { key: first }), message('d', { key: second })])
    await rig.rest()
    expect(consumer.take()).toEqual(messages(0, 3, 4))
    expect(await rig.subscription.explainMessage({ partition: 0, offset: 2 })).toMatchObject({
      state: 'waiting',
      blockedBy: '0:0',
    })
    dlq.settle()
    await rig.rest()
    expect(consumer.take()).toEqual(messages(0, 2, 3))
    expect(letters(dlq)).toMatchObject([{ value: 'a', headers: { 'tidings-reason': 'bad' } }])
    expect(attachment.ack(ids(0, 1, 2, 3))).toBe(3)
    const moved = rig.subscription.redrive({ max: 10, filter: null, dryRun: false })
    await rig.rest()
    expect(await moved).toEqual({ moved: 1 })
    await rig.rest()
    expect(consumer.take()).toEqual(messages(0, 0, 1))
  })

  it('hold back an ordered subscription until they are written', async () => {
    const { rig, dlq, consumer, attachment } = await scene({ type: 'exclusive' })
    dlq.isHeld = true
    rig.partition.append([message('one')])
    await rig.rest()
    attachment.reject(ids(0, 0))
    rig.partition.append([message('two')])
    await rig.rest()
    expect(consumer.take()).toEqual(messages(0, 0, 1))
    dlq.settle()
    await rig.rest()
    expect(consumer.take()).toEqual(messages(0, 1, 2))
  })
})

describe('the dead-letter topic', () => {
  it('is named after topic and subscription unless it is given', () => {
    expect(deadLetterTopic('orders', 'billing', { ...deadLetter, topic: null })).toBe('orders.billing.dlq')
    expect(deadLetterTopic('orders', 'billing', deadLetter)).toBe('dlq')
  })

  it.each([
    ['its own topic', 'orders', 'orders'],
    ['a default that is too long', 'o'.repeat(190), null],
    ['a pattern without a name', 'orders.*', null],
  ])('is refused: %s', (_, topic, named) => {
    expect(() => deadLetterTopic(topic, 'billing', { ...deadLetter, topic: named })).toThrow(/deadLetter\.topic/)
  })
})

describe('a record that pretends to be a dead letter', () => {
  it('is none without a valid id', async () => {
    const { dlq } = await scene()
    const headers: [string, string][] = [
      ['tidings-original-topic', 'orders'],
      ['tidings-original-id', 'nonsense'],
      ['tidings-subscription', 'billing'],
    ]
    dlq.partition.append([message('x', { headers })])
    expect(originOf(dlq.partition.cached(0)!, 0)).toBeNull()
  })
})
