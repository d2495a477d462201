import { DEAD_LETTER_DEFAULTS, type MessageId, recordHeaders, type SubscriptionSettings } from '@tidings/sdk/protocol'
import { describe, expect, it } from 'vitest'
import type { PublishInput } from '../../../src/partition/topic.ts'
import type { Attachment, RedriveAnswer, RedriveRequest } from '../../../src/subscription/subscription.ts'
import { FakeConsumer, messages } from '../../support/fake-consumer.ts'
import { MemoryTopic } from '../../support/memory-topic.ts'
import { ids, SubscriptionRig } from '../../support/subscription-rig.ts'

const deadLetter = { ...DEAD_LETTER_DEFAULTS, topic: 'dlq', maxDeliveries: 1 }
const everything = { max: 10_000, filter: null, dryRun: false }

function message(value: string, more: Partial<PublishInput> = {}): PublishInput {
  return {
    key: null,
    value: Buffer.from(value),
    contentType: 'text/plain',
    headers: [],
    idempotencyKey: null,
    partition: null,
    ttlMs: null,
    valueChecked: true,
    ...more,
  }
}

/** As a subscription of a pattern takes them too. */
function named(...offsets: number[]): MessageId[] {
  return ids(0, ...offsets).map((id) => ({ ...id, topic: 'orders' }))
}

class Scene {
  readonly rig: SubscriptionRig
  readonly dlq: MemoryTopic
  readonly consumer = new FakeConsumer('a', 1000)
  readonly attachment: Attachment

  private constructor(rig: SubscriptionRig, dlq: MemoryTopic) {
    this.rig = rig
    this.dlq = dlq
    this.attachment = rig.subscription.attach(this.consumer)
  }

  static async open(patch: Partial<SubscriptionSettings> = {}): Promise<Scene> {
    return Scene.over(await SubscriptionRig.open({ deadLetter, ...patch }), null)
  }

  static async over(rig: SubscriptionRig, dlq: MemoryTopic | null): Promise<Scene> {
    const letters = dlq ?? new MemoryTopic(rig.clock, 'dlq')
    await rig.directory.add(letters)
    const orders = new MemoryTopic(rig.clock, 'orders', rig.partitions)
    rig.directory.topics.set('orders', { topic: orders, cursors: rig.stores })
    return new Scene(rig, letters)
  }

  /** All that die without an exception, and what was delivered. */
  async killAll(count: number): Promise<void> {
    await this.rig.rest()
    this.attachment.reject(named(...Array.from({ length: count }, (_, offset) => offset)))
    await this.rig.rest()
    this.consumer.take()
  }

  /** The answer of a redrive that needs no time. */
  async redrive(request: RedriveRequest = everything): Promise<RedriveAnswer | undefined> {
    let answer: RedriveAnswer | undefined
    void this.rig.subscription.redrive(request).then((value) => (answer = value))
    await this.rig.rest()
    await this.rig.rest()
    return answer
  }

  get letters(): number {
    return this.dlq.partition.nextOffset
  }
}

describe('a redrive', () => {
  it('moves the dead letters back, once, in order and as first attempts', async () => {
    const scene = await Scene.open()
    scene.rig.partition.append([message('a'), message('b'), message('c')])
    await scene.killAll(3)
    expect(scene.letters).toBe(3)
    expect(await scene.redrive()).toEqual({ moved: 3 })
    expect(scene.consumer.take()).toEqual(messages(0, 0, 3))
    expect(await scene.redrive()).toEqual({ moved: 0 })
    expect(scene.attachment.ack(ids(0, 0, 1, 2))).toBe(3)
    await scene.rig.rest()
    expect(scene.rig.subscription.state().backlog).toBe(0)
  })

  it('moves so many at most, and only counts in a dry run', async () => {
    const scene = await Scene.open()
    scene.rig.partition.append(Array.from({ length: 1200 }, (_, i) => message(String(i))))
    await scene.killAll(1200)
    await scene.killAll(1200)
    expect(scene.letters).toBe(1200)
    expect(await scene.redrive({ ...everything, dryRun: true })).toEqual({ moved: 0, matched: 1200 })
    expect(await scene.redrive({ ...everything, max: 5, dryRun: true })).toEqual({ moved: 0, matched: 5 })
    expect(await scene.redrive({ ...everything, max: 5 })).toEqual({ moved: 5 })
    expect(scene.consumer.take()).toEqual(messages(0, 0, 5))
    expect(await scene.redrive({ ...everything, dryRun: true })).toEqual({ moved: 0, matched: 1195 })
    expect(await scene.redrive()).toEqual({ moved: 1195 })
  })

  it('moves those that it is asked for, and leaves the others for another time', async () => {
    const scene = await Scene.open()
    scene.rig.partition.append([message('a'), message('b'), message('c'), message('d')])
    await scene.killAll(4)
    const filter = 'headers["tidings-original-id"].matches("^0:[13]$") && topic == "dlq"'
    expect(await scene.redrive({ ...everything, filter, dryRun: true })).toEqual({ moved: 0, matched: 2 })
    expect(await scene.redrive({ ...everything, filter })).toEqual({ moved: 2 })
    expect(scene.consumer.take()).toEqual([...messages(0, 1, 2), ...messages(0, 3, 4)])
    expect(await scene.redrive()).toEqual({ moved: 2 })
    expect(scene.consumer.take()).toEqual([...messages(0, 0, 1), ...messages(0, 2, 3)])
  })

  it('does not touch what others published or gave up on', async () => {
    const scene = await Scene.open()
    const from = (topic: string, subscription: string): PublishInput =>
      message('x', {
        headers: [
          ['tidings-original-topic', topic],
          ['tidings-original-id', '0:0'],
          ['tidings-subscription', subscription],
        ],
      })
    scene.dlq.partition.append([message('plain'), from('orders', 'other'), from('returns', 'billing')])
    scene.rig.partition.append([message('a')])
    await scene.killAll(1)
    expect(await scene.redrive()).toEqual({ moved: 1 })
    expect(scene.consumer.take()).toEqual(messages(0, 0, 1))
  })

  describe('beside subscriptions of the same name, which follow patterns that match its topic', () => {
    const PATTERNS = ['*', '**']

    /** Three subscriptions `billing` over one topic with one place for their dead letters. */
    async function crowd(): Promise<{ scene: Scene; twins: Scene[] }> {
      const scene = await Scene.open()
      const twins: Scene[] = []
      for (const pattern of PATTERNS) {
        const { clock, partitions } = scene.rig
        const rig = await SubscriptionRig.over(clock, partitions, { deadLetter }, undefined, 'billing', pattern)
        twins.push(await Scene.over(rig, scene.dlq))
      }
      return { scene, twins }
    }

    it('brings its own letters back, and leaves theirs', async () => {
      const { scene, twins } = await crowd()
      scene.rig.partition.append([message('a'), message('b')])
      await twins[0]!.killAll(2)
      await twins[1]!.killAll(1)
      await scene.killAll(0)
      expect(scene.letters).toBe(3)
      expect(await scene.redrive({ ...everything, dryRun: true })).toEqual({ moved: 0, matched: 0 })
      expect(await twins[1]!.redrive()).toEqual({ moved: 1 })
      expect(twins[1]!.consumer.take()).toEqual(messages(0, 0, 1))
      expect(await twins[0]!.redrive()).toEqual({ moved: 2 })
      expect(twins[0]!.consumer.take()).toEqual(messages(0, 0, 2))
      expect(await scene.redrive()).toEqual({ moved: 0 })
    })

    it('publishes a copy that only the one who asked gets', async () => {
      const { scene, twins } = await crowd()
      scene.rig.partition.append([message('a'), message('b')])
      for (const one of [scene, ...twins]) await one.killAll(1)
      scene.rig.partition.retain(1)
      await scene.rig.rest()
      for (const one of [scene, ...twins]) one.consumer.take()
      expect(await twins[0]!.redrive()).toEqual({ moved: 1 })
      expect(twins[0]!.consumer.take()).toEqual(messages(0, 2, 3))
      expect(await scene.redrive()).toEqual({ moved: 1 })
      expect(scene.consumer.take()).toEqual(messages(0, 3, 4))
      await twins[1]!.rig.rest()
      expect(twins[1]!.consumer.take()).toEqual([])
      expect(await twins[1]!.redrive()).toEqual({ moved: 1 })
      expect(twins[1]!.consumer.take()).toEqual(messages(0, 4, 5))
    })

    it('lets each of them bring back a letter that does not say whose it is', async () => {
      const { scene, twins } = await crowd()
      const headers: [string, string][] = [
        ['tidings-original-topic', 'orders'],
        ['tidings-original-id', '0:0'],
        ['tidings-subscription', 'billing'],
      ]
      scene.rig.partition.append([message('a')])
      scene.dlq.partition.append([message('a', { headers })])
      for (const { attachment, rig } of [scene, ...twins]) {
        await rig.rest()
        attachment.ack(named(0))
      }
      for (const one of [scene, ...twins]) {
        await one.rig.rest()
        one.consumer.take()
        expect(await one.redrive()).toEqual({ moved: 1 })
        expect(one.consumer.take()).toEqual(messages(0, 0, 1))
      }
    })
  })

  it('is refused without dead letters', async () => {
    const rig = await SubscriptionRig.open()
    await expect(rig.subscription.redrive(everything)).rejects.toMatchObject({ code: 'invalid_argument' })
  })

  it('publishes a copy for this subscription only, where the message itself is gone', async () => {
    const scene = await Scene.open()
    scene.rig.partition.append([message('a', { headers: [['color', 'red']] }), message('b')])
    await scene.killAll(2)
    scene.rig.partition.retain(1)
    await scene.rig.rest()
    expect(await scene.redrive()).toEqual({ moved: 2 })
    expect(scene.consumer.take().sort()).toEqual([...messages(0, 1, 2), ...messages(0, 2, 3)])
    const batch = scene.rig.partition.cached(2)!
    expect(recordHeaders(batch.bytes, batch.positionOf(2)).headers).toEqual([
      ['color', 'red'],
      ['tidings-redriven-to', 'orders/billing'],
    ])
    const other = await SubscriptionRig.over(scene.rig.clock, scene.rig.partitions, {}, undefined, 'other')
    const reader = new FakeConsumer('b')
    other.subscription.attach(reader)
    await other.rest()
    expect(reader.take()).toEqual(messages(0, 1, 2))
    expect(other.subscription.state()).toMatchObject({ backlog: 1, unacked: 1 })
    // A copy that dies too comes back as it was.
    scene.attachment.reject(ids(0, 2))
    await scene.rig.rest()
    expect(await scene.redrive()).toEqual({ moved: 1 })
    expect(scene.consumer.take()).toEqual(messages(0, 2, 3))
  })

  it('publishes a copy where another message has its place, since the topic was made anew', async () => {
    const scene = await Scene.open()
    scene.rig.partition.append([message('a')])
    await scene.killAll(1)
    const anew = await Scene.over(await SubscriptionRig.open({ deadLetter }), scene.dlq)
    anew.rig.partition.append([message('another')])
    await anew.rig.rest()
    expect(anew.consumer.take()).toEqual(messages(0, 0, 1))
    anew.attachment.ack(ids(0, 0))
    await anew.rig.rest()
    expect(await anew.redrive()).toEqual({ moved: 1 })
    expect(anew.consumer.take()).toEqual(messages(0, 1, 2))
  })

  it('publishes a copy where the message would be passed over as expired', async () => {
    const scene = await Scene.open()
    scene.rig.partition.append([message('a', { ttlMs: 1000 })])
    await scene.killAll(1)
    await scene.rig.pass(2000)
    expect(await scene.redrive()).toEqual({ moved: 1 })
    expect(scene.consumer.take()).toEqual(messages(0, 1, 2))
  })

  it('gives a message that dies again a letter of its own, within the window too', async () => {
    const scene = await Scene.open()
    scene.rig.partition.append([message('a')])
    await scene.killAll(1)
    for (let round = 2; round <= 5; round++) {
      expect(await scene.redrive()).toEqual({ moved: 1 })
      await scene.killAll(1)
      expect(scene.letters).toBe(round)
    }
  })

  it('gives it one also when it dies before it is durable that it came back', async () => {
    const scene = await Scene.open()
    scene.rig.partition.append([message('a')])
    await scene.killAll(1)
    const { cursorQueue } = scene.rig.partition
    cursorQueue.isAutomatic = false
    expect(await scene.redrive()).toBeUndefined()
    cursorQueue.write()
    await scene.rig.rest()
    expect(scene.consumer.take()).toEqual(messages(0, 0, 1))
    scene.attachment.reject(ids(0, 0))
    await scene.rig.rest()
    expect(scene.letters).toBe(2)
  })

  it.each(['kill', 'power'] as const)('loses nothing to a crash before the move is written (%s)', async (how) => {
    const scene = await Scene.open({ deadLetter: { ...deadLetter, maxDeliveries: 2 } })
    scene.rig.partition.append([message('a'), message('b')])
    await scene.killAll(2)
    scene.dlq.partition.cursorQueue.isAutomatic = false
    expect(await scene.redrive()).toBeUndefined()
    const rig = await scene.rig.restart(how)
    const dlq = new MemoryTopic(rig.clock, 'dlq', [scene.dlq.partition.crashed(rig.clock, how)])
    const after = await Scene.over(rig, dlq)
    await rig.rest()
    // That they had been handed over may have been written, or not.
    expect(after.consumer.take().map((text) => text.split(' ')[0])).toEqual(['0:0', '0:1'])
    after.attachment.ack(ids(0, 0, 1))
    await rig.rest()
    expect(await after.redrive()).toEqual({ moved: 2 })
    expect(after.consumer.take()).toEqual(messages(0, 0, 2))
  })

  it('remembers over a restart what was moved', async () => {
    const scene = await Scene.open()
    scene.rig.partition.append([message('a'), message('b')])
    await scene.killAll(2)
    expect(await scene.redrive({ ...everything, max: 1 })).toEqual({ moved: 1 })
    const rig = await scene.rig.restart('power')
    const dlq = new MemoryTopic(rig.clock, 'dlq', [scene.dlq.partition.crashed(rig.clock, 'power')])
    const after = await Scene.over(rig, dlq)
    expect(await after.redrive()).toEqual({ moved: 1 })
    expect(await after.redrive()).toEqual({ moved: 0 })
  })

  it('does not hold back retention', async () => {
    const scene = await Scene.open()
    scene.rig.partition.append([message('a'), message('b')])
    await scene.killAll(2)
    await scene.redrive({ ...everything, max: 1 })
    const { cursors } = scene.rig.directory.topics.get('dlq')!
    expect(cursors[0]!.hindmost).toBeNull()
    expect(cursors[0]!.subscriptionIds).toEqual([])
    expect(cursors[0]!.internalIds).toEqual(['redrive:id'])
  })
})
