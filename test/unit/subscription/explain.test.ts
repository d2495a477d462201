import { DEAD_LETTER_DEFAULTS, type SubscriptionSettings, TidingsError } from '@tidings/sdk/protocol'
import { describe, expect, it } from 'vitest'
import { FakeConsumer } from '../../support/fake-consumer.ts'
import { MemoryTopic } from '../../support/memory-topic.ts'
import { ids, SubscriptionRig } from '../../support/subscription-rig.ts'

const deadLetter = { ...DEAD_LETTER_DEFAULTS, topic: 'dlq', maxDeliveries: 2 }

async function withMessages(count: number, patch: Partial<SubscriptionSettings> = {}): Promise<SubscriptionRig> {
  const rig = await SubscriptionRig.open(patch)
  rig.partition.publish(count)
  await rig.rest()
  return rig
}

const codes = (rig: SubscriptionRig): string[] => rig.subscription.explain().reasons.map(({ code }) => code)
const at = (rig: SubscriptionRig, ms: number): string =>
  new Date(rig.clock.now() - rig.clock.monotonic() + ms).toISOString()

describe('why nothing is delivered', () => {
  it('is that there is nothing', async () => {
    const rig = await SubscriptionRig.open()
    expect(rig.subscription.explain()).toMatchObject({
      subscription: 'billing',
      topic: 'orders',
      verdict: 'Everything that was published has been acknowledged.',
      reasons: [{ code: 'caught_up' }],
      backlog: 0,
    })
  })

  it('is that nobody is there', async () => {
    const rig = await withMessages(3)
    expect(rig.subscription.explain()).toMatchObject({ reasons: [{ code: 'no_consumer' }], backlog: 3, consumers: [] })
  })

  it('is what keeps every consumer from taking more', async () => {
    const rig = await SubscriptionRig.open()
    const [full, paused, slow] = [new FakeConsumer('full', 2), new FakeConsumer('paused'), new FakeConsumer('slow')]
    slow.isReady = false
    const attachments = [full, paused, slow].map((consumer) => rig.subscription.attach(consumer))
    attachments[1]!.pause()
    rig.partition.publish(5)
    await rig.rest()
    const { reasons, verdict } = rig.subscription.explain()
    expect(reasons.map(({ code }) => code)).toEqual(['no_credit', 'socket_backed_up', 'consumers_paused'])
    expect(verdict).toContain('"full" (2 messages)')
    slow.isReady = true
    expect(codes(rig)).toEqual(['delivering'])
  })

  it('is that everything lies with consumers', async () => {
    const rig = await withMessages(3)
    rig.subscription.attach(new FakeConsumer('a', 3))
    await rig.rest()
    expect(codes(rig)).toEqual(['all_outstanding'])
  })

  it('is the bound of unacknowledged messages', async () => {
    const rig = await withMessages(10, { maxUnacked: 4 })
    rig.subscription.attach(new FakeConsumer('a'))
    await rig.rest()
    expect(codes(rig)).toEqual(['max_unacked'])
  })

  it('is a failed message that waits, or that holds back an order', async () => {
    for (const type of ['shared', 'exclusive'] as const) {
      const rig = await withMessages(1, { type })
      const attachment = rig.subscription.attach(new FakeConsumer('a'))
      await rig.rest()
      attachment.nack(ids(0, 0), 5000)
      const until = at(rig, rig.clock.monotonic() + 5000)
      await rig.rest()
      if (type === 'shared')
        expect(rig.subscription.explain().reasons).toMatchObject([{ code: 'waiting_backoff', until }])
      else {
        rig.partition.publish(5)
        await rig.rest()
        expect(rig.subscription.explain().reasons).toMatchObject([{ code: 'blocked_by_failed', id: '0:0', until }])
        await rig.pass(5000)
        expect(rig.subscription.explain().reasons).toMatchObject([{ code: 'blocked_by_failed', id: '0:0' }])
      }
    }
  })

  it('is a disk that is slow, or full', async () => {
    const rig = await SubscriptionRig.open()
    rig.subscription.attach(new FakeConsumer('a'))
    await rig.rest()
    rig.partition.cursorQueue.isAutomatic = false
    rig.partition.publish(2)
    await rig.rest()
    rig.partition.cursorQueue.fail(true)
    await rig.rest()
    expect(rig.subscription.explain().reasons).toMatchObject([{ code: 'storage_full', partition: 0 }])
  })

  it('is a dead-letter topic that cannot be written', async () => {
    const rig = await withMessages(1, { deadLetter })
    const dlq = new MemoryTopic(rig.clock, 'dlq')
    dlq.failure = new TidingsError('storage_full', 'no room')
    await rig.directory.add(dlq)
    const attachment = rig.subscription.attach(new FakeConsumer('a'))
    await rig.rest()
    attachment.reject(ids(0, 0))
    await rig.rest()
    const { reasons, deadLettering } = rig.subscription.explain()
    expect(reasons).toMatchObject([{ code: 'dead_letter_failing', partition: 0 }])
    expect(reasons[0]!.detail).toContain('no room')
    expect(deadLettering).toBe(1)
  })
})

describe('what became of a message', () => {
  it('is told of each state', async () => {
    const rig = await SubscriptionRig.open({ deadLetter, maxUnacked: 5 })
    await rig.directory.add(new MemoryTopic(rig.clock, 'dlq'))
    rig.partition.publish(1, { expiresAt: rig.clock.now() })
    rig.partition.publish(9)
    const attachment = rig.subscription.attach(new FakeConsumer('ada', 100))
    await rig.rest()
    const explain = (offset: number): unknown => rig.subscription.explainMessage({ partition: 0, offset })
    attachment.ack(ids(0, 1))
    attachment.nack(ids(0, 2), 1000, 'not now')
    attachment.reject(ids(0, 3), 'never')
    attachment.pause()
    await rig.rest()
    expect(await explain(0)).toEqual({ id: '0:0', state: 'expired', reason: expect.any(String) })
    expect(await explain(1)).toEqual({ id: '0:1', state: 'acked', reason: expect.any(String) })
    expect(await explain(2)).toEqual({
      id: '0:2',
      state: 'waiting',
      reason: expect.any(String),
      attempt: 1,
      nextAttemptAt: at(rig, rig.clock.monotonic() + 1000),
      lastFailure: { kind: 'nack', reason: 'not now' },
    })
    expect(await explain(3)).toEqual({
      id: '0:3',
      state: 'dead_lettered',
      reason: expect.any(String),
      deadLetter: { topic: 'dlq', id: '0:0' },
    })
    expect(await explain(4)).toEqual({
      id: '0:4',
      state: 'outstanding',
      reason: expect.any(String),
      consumer: 'ada',
      attempt: 1,
      deadline: at(rig, rig.clock.monotonic() + 30_000),
    })
    expect(await explain(9)).toMatchObject({ state: 'not_reached' })
  })

  it('names what it waits for', async () => {
    const rig = await withMessages(3, { type: 'exclusive' })
    const attachment = rig.subscription.attach(new FakeConsumer('a'))
    await rig.rest()
    attachment.nack(ids(0, 0, 1), 1000)
    await rig.rest()
    expect(await rig.subscription.explainMessage({ partition: 0, offset: 1 })).toMatchObject({
      state: 'waiting',
      blockedBy: '0:0',
    })
  })

  it.each([
    ['removed', 0, 1, 'offset_out_of_range'],
    ['not there yet', 0, 3, 'offset_out_of_range'],
    ['of another partition', 7, 0, 'partition_not_found'],
  ])('is an error where it is %s', async (_, partition, offset, code) => {
    const rig = await withMessages(3)
    rig.partition.retain(2)
    await expect(rig.subscription.explainMessage({ partition, offset })).rejects.toMatchObject({ code })
  })
})
