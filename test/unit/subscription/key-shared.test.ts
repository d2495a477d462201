import { describe, expect, it } from 'vitest'
import type { Attachment } from '../../../src/subscription/subscription.ts'
import { FakeConsumer, messagesOf } from '../../support/fake-consumer.ts'
import { ids, SubscriptionRig } from '../../support/subscription-rig.ts'

const KEYS = Array.from({ length: 20 }, (_, i) => `key-${i}`)

interface Held {
  consumer: FakeConsumer
  attachment: Attachment
}

function join(rig: SubscriptionRig, name: string, prefetch = 256): Held {
  const consumer = new FakeConsumer(name, prefetch)
  return { consumer, attachment: rig.subscription.attach(consumer) }
}

const offsetsOf = (texts: readonly string[]): number[] => texts.map((text) => Number(text.split(/[: ]/)[1]))

const open = (patch = {}): Promise<SubscriptionRig> =>
  SubscriptionRig.open({ type: 'key_shared', backoff: { minMs: 100, maxMs: 100 }, ...patch })

describe('a key_shared subscription', () => {
  it('keeps every key with one consumer, in order, and gives each consumer a share', async () => {
    const rig = await open()
    const held = [join(rig, 'a'), join(rig, 'b'), join(rig, 'c')]
    rig.partition.publish(200, { each: 7, keys: KEYS })
    await rig.rest()
    const owners = new Map<number, string>()
    for (const { consumer } of held) {
      expect(consumer.got.length).toBeGreaterThan(0)
      const offsets = offsetsOf(consumer.got)
      for (const offset of offsets) {
        const key = offset % KEYS.length
        expect(owners.get(key) ?? consumer.name).toBe(consumer.name)
        owners.set(key, consumer.name)
      }
      expect(offsets).toEqual([...offsets].sort((x, y) => x - y))
    }
    expect(held.flatMap(({ consumer }) => consumer.got)).toHaveLength(200)
  })

  it('blocks the key of a nacked message until it is acknowledged, and no other', async () => {
    const rig = await open()
    const { consumer, attachment } = join(rig, 'a')
    rig.partition.publish(2, { keys: ['x', 'y'] })
    await rig.rest()
    attachment.nack(ids(0, 0))
    rig.partition.publish(4, { keys: ['x', 'y'] })
    await rig.rest()
    expect(consumer.take()).toEqual(['0:0 #1', '0:1 #1', '0:3 #1', '0:5 #1'])
    await rig.pass(100)
    expect(consumer.take()).toEqual(['0:0 #2'])
    attachment.ack(ids(0, 0))
    await rig.rest()
    expect(consumer.take()).toEqual(['0:2 #1', '0:4 #1'])
  })

  it('lets a former owner finish before a key goes to its new one', async () => {
    const rig = await open()
    const first = join(rig, 'a')
    rig.partition.publish(20, { keys: KEYS })
    await rig.rest()
    expect(first.consumer.take()).toHaveLength(20)
    const second = join(rig, 'b')
    rig.partition.publish(20, { keys: KEYS })
    await rig.rest()
    const stayed = offsetsOf(first.consumer.take())
    expect(second.consumer.take()).toEqual([])
    const moved = Array.from({ length: 20 }, (_, i) => 20 + i).filter((offset) => !stayed.includes(offset))
    expect(moved.length).toBeGreaterThan(2)
    const [one] = moved
    first.attachment.ack(ids(0, one! - 20))
    await rig.rest()
    expect(second.consumer.take()).toEqual([`0:${one} #1`])
    first.attachment.ack(ids(0, ...Array.from({ length: 20 }, (_, i) => i)))
    await rig.rest()
    expect(offsetsOf(second.consumer.take())).toEqual(moved.slice(1))
  })

  it('gives the keys of a consumer that leaves to the others, lowest first', async () => {
    const rig = await open()
    const [first, second] = [join(rig, 'a'), join(rig, 'b')]
    rig.partition.publish(60, { keys: KEYS })
    await rig.rest()
    const lost = offsetsOf(first.consumer.take())
    second.consumer.take()
    first.attachment.detach()
    await rig.rest()
    expect(second.consumer.take()).toEqual(lost.map((offset) => `0:${offset} #2`))
  })

  it('takes no key to a consumer that pauses, and gives it none', async () => {
    const rig = await open()
    const [first, second] = [join(rig, 'a'), join(rig, 'b')]
    first.attachment.pause()
    rig.partition.publish(20, { keys: KEYS })
    await rig.rest()
    expect([first.consumer.take().length, second.consumer.take().length]).toEqual([0, 20])
    first.attachment.resume()
    rig.partition.publish(20, { keys: KEYS })
    await rig.rest()
    expect(first.consumer.take()).toEqual([])
    second.attachment.ack(ids(0, ...Array.from({ length: 40 }, (_, i) => i)))
    await rig.rest()
    expect(first.consumer.take().length).toBeGreaterThan(2)
  })

  it('goes past the keys of a full consumer, as far as maxUnacked', async () => {
    const rig = await open({ maxUnacked: 100 })
    const [full, quick] = [join(rig, 'a', 1), join(rig, 'b', 1000)]
    rig.partition.publish(400, { each: 10, keys: KEYS })
    await rig.rest()
    expect(full.consumer.take()).toHaveLength(1)
    const got = quick.consumer.take()
    expect(got.length).toBeGreaterThan(20)
    expect(rig.subscription.state()).toMatchObject({ backlog: 400, unacked: got.length + 1 })
    expect(rig.subscription.state().redelivering + got.length + 1).toBe(100)
  })

  it('does not look ahead when nobody can take anything', async () => {
    const rig = await open()
    join(rig, 'a', 2)
    rig.partition.publish(400, { each: 10, keys: KEYS })
    await rig.rest()
    expect(rig.subscription.state()).toMatchObject({ backlog: 400, unacked: 2, redelivering: 0 })
  })

  it('spreads messages without a key over all who are there, whatever failed before', async () => {
    const rig = await open()
    const [first, second] = [join(rig, 'a'), join(rig, 'b')]
    rig.partition.publish(10)
    await rig.rest()
    expect([first.consumer.take().length, second.consumer.take().length]).toEqual([5, 5])
    first.attachment.nack(ids(0, 0), 1000)
    rig.partition.publish(10)
    await rig.rest()
    expect(first.consumer.take().length + second.consumer.take().length).toBe(10)
  })

  it('gives back at the hand-over what a failure of its key has overtaken, uncounted', async () => {
    const rig = await open()
    const { consumer, attachment } = join(rig, 'a')
    rig.partition.publish(1, { keys: ['x'] })
    await rig.rest()
    rig.partition.cursorQueue.isAutomatic = false
    rig.partition.publish(2, { keys: ['x', 'y'] })
    await rig.rest()
    attachment.nack(ids(0, 0), 0)
    rig.partition.cursorQueue.isAutomatic = true
    await rig.rest()
    rig.partition.cursorQueue.write()
    rig.partition.cursorQueue.sync()
    await rig.pass(10)
    expect(consumer.take()).toEqual(['0:0 #1', '0:2 #1', '0:0 #2'])
    attachment.ack(ids(0, 0))
    await rig.rest()
    expect(consumer.take()).toEqual(['0:1 #1'])
  })

  it('knows its keys again after a restart, before anything goes out', async () => {
    const rig = await open()
    const { attachment } = join(rig, 'a')
    rig.partition.publish(40, { each: 5, keys: KEYS })
    await rig.rest()
    attachment.ack(ids(0, 0, 5, 21))
    attachment.nack(ids(0, 1), 1000)
    await rig.rest()
    const next = await rig.restart('kill')
    next.partition.isCold = true
    const second = join(next, 'b')
    for (let read = 0; read < 4; read++) await next.rest()
    const got = second.consumer.take()
    expect(offsetsOf(got)).toEqual([...Array(40).keys()].filter((offset) => ![0, 5, 21, 1].includes(offset)))
    expect(got.every((text) => text.endsWith('#2'))).toBe(true)
    await next.pass(1000)
    expect(second.consumer.take()).toEqual(['0:1 #2'])
  })

  it('forgets its leases in a seek, and does not hold a key back for them', async () => {
    const rig = await open()
    const first = join(rig, 'a')
    rig.partition.publish(20, { keys: KEYS })
    await rig.rest()
    first.consumer.take()
    const second = join(rig, 'b')
    await rig.subscription.seek('earliest')
    await rig.rest()
    expect(first.consumer.take().length + second.consumer.take().length).toBe(20)
    expect(rig.subscription.state().unacked).toBe(20)
  })
})

/** Keys of which the first consumer holds a message while the second owns them: they drain. */
async function draining(
  patch: object = {},
): Promise<{ rig: SubscriptionRig; first: Held; second: Held; moved: number[] }> {
  const rig = await open(patch)
  const first = join(rig, 'a')
  rig.partition.publish(20, { each: 1, keys: KEYS })
  await rig.rest()
  const second = join(rig, 'b')
  rig.partition.publish(20, { each: 1, keys: KEYS })
  await rig.rest()
  const stayed = offsetsOf(first.consumer.take()).filter((offset) => offset >= 20)
  const moved = [...Array(20).keys()].filter((key) => !stayed.includes(key + 20))
  return { rig, first, second, moved }
}

describe('a key that drains', () => {
  it('waits for whoever has it, however long its new owner has room', async () => {
    const { rig, first, second, moved } = await draining()
    for (let round = 0; round < 5; round++) {
      rig.partition.publish(20, { keys: KEYS })
      await rig.pass(100)
    }
    expect(second.consumer.take()).toEqual([])
    first.attachment.ack(ids(0, ...moved))
    await rig.rest()
    const got = offsetsOf(second.consumer.take())
    expect(got).toHaveLength(moved.length * 6)
    for (const key of moved) {
      expect(got.filter((offset) => offset % 20 === key)).toEqual([1, 2, 3, 4, 5, 6].map((round) => round * 20 + key))
    }
  })

  it('is not freed by retention while its messages are with somebody', async () => {
    const { rig, first, second, moved } = await draining()
    rig.partition.retain(20)
    await rig.rest()
    expect(second.consumer.take()).toEqual([])
    expect(first.attachment.ack(ids(0, ...moved))).toBe(moved.length)
    await rig.rest()
    expect(offsetsOf(second.consumer.take())).toEqual(moved.map((key) => key + 20))
  })

  it('goes to its new owner when the lease expires, the failed message first', async () => {
    const { rig, second, moved } = await draining({ ackDeadlineMs: 500 })
    await rig.pass(499)
    expect(second.consumer.take()).toEqual([])
    await rig.pass(101)
    expect(second.consumer.take()).toEqual(moved.map((key) => `0:${key} #2`))
    second.attachment.ack(ids(0, ...moved))
    await rig.rest()
    expect(offsetsOf(second.consumer.take())).toEqual(moved.map((key) => key + 20))
  })

  it('goes back to its former owner when the new one leaves', async () => {
    const { rig, first, second, moved } = await draining()
    second.attachment.detach()
    await rig.rest()
    expect(offsetsOf(first.consumer.take())).toEqual(moved.map((key) => key + 20))
  })

  it('is held up by nobody who only came and went', async () => {
    const { rig, first, second, moved } = await draining()
    for (let i = 0; i < 10; i++) {
      const guest = join(rig, `guest ${i}`)
      await rig.rest()
      guest.attachment.detach()
    }
    first.attachment.ack(ids(0, ...moved))
    await rig.rest()
    expect(offsetsOf(second.consumer.take())).toEqual(moved.map((key) => key + 20))
  })

  it('goes out again at the end of the log, where nothing new would wake anybody', async () => {
    const rig = await open()
    const [narrow, wide] = [join(rig, 'a', 1), join(rig, 'b', 1000)]
    rig.partition.publish(200, { each: 9, keys: KEYS })
    await rig.rest()
    const acked = new Set<number>()
    for (let step = 0; step < 300 && acked.size < 200; step++) {
      for (const { consumer, attachment } of [narrow, wide]) {
        for (const offset of offsetsOf(consumer.take())) {
          acked.add(offset)
          attachment.ack(ids(0, offset))
        }
      }
      await rig.rest()
    }
    expect(acked.size).toBe(200)
  })
})

describe('a pull of a key_shared subscription', () => {
  it('is a consumer of its own: no key lies with two pulls', async () => {
    const rig = await open()
    rig.partition.publish(10, { keys: ['x', 'y'] })
    expect(messagesOf(await rig.subscription.pull(3, 0))).toEqual(['0:0 #1', '0:1 #1', '0:2 #1'])
    expect(messagesOf(await rig.subscription.pull(10, 0))).toEqual([])
    rig.subscription.pulled.ack(ids(0, 0, 2))
    expect(messagesOf(await rig.subscription.pull(10, 0))).toEqual([4, 6, 8].map((offset) => `0:${offset} #1`))
    rig.subscription.pulled.nack(ids(0, 1), 0)
    expect(messagesOf(await rig.subscription.pull(10, 0))).toEqual(['0:1 #2'])
  })

  it('shares the keys with connected consumers', async () => {
    const rig = await open()
    const { consumer } = join(rig, 'a')
    const waiting = rig.subscription.pull(100, 1000)
    rig.partition.publish(40, { keys: KEYS })
    await rig.rest()
    const pulled = offsetsOf(messagesOf(await waiting))
    expect(pulled.length).toBeGreaterThan(0)
    const others = offsetsOf(consumer.take())
    expect(others.filter((offset) => pulled.some((one) => one % 20 === offset % 20))).toEqual([])
    expect(pulled.length + others.length).toBe(40)
    rig.partition.publish(20, { keys: KEYS })
    await rig.rest()
    expect(offsetsOf(consumer.take()).filter((offset) => pulled.some((one) => one % 20 === offset % 20))).toEqual([])
  })

  it('gives back what nobody was told of', async () => {
    const rig = await open()
    rig.partition.cursorQueue.isAutomatic = false
    const abort = new AbortController()
    const waiting = rig.subscription.pull(10, 1000, abort.signal)
    rig.partition.publish(4, { keys: ['x'] })
    await rig.rest()
    abort.abort()
    expect(await waiting).toEqual([])
    rig.partition.cursorQueue.isAutomatic = true
    rig.partition.cursorQueue.write()
    expect(messagesOf(await rig.subscription.pull(10, 100))).toHaveLength(4)
  })
})
