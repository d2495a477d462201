import { describe, expect, it } from 'vitest'
import { FakeConsumer } from '../../support/fake-consumer.ts'
import { HostRig } from '../../support/host-rig.ts'

const EARLIEST = { start: 'earliest' }

/** Takes what there is, acknowledges it durably, and answers it as `topic/partition:offset`. */
async function consume(rig: HostRig, pattern: string, name = 's'): Promise<string[]> {
  const subscription = rig.host.subscription(pattern, name)
  const got: string[] = []
  // A pull is answered with what is in memory, while other topics are still read from the disk.
  for (;;) {
    const deliveries = await subscription.pull(100, 0)
    const ids = deliveries.flatMap(({ topic, partition, from, to }) =>
      Array.from({ length: to - from }, (_, i) => ({ topic, partition, offset: from + i })),
    )
    if (ids.length === 0) return got.sort()
    await new Promise<void>((resolve, reject) => {
      subscription.pulled.ack(ids, (error) => (error ? reject(error) : resolve()))
    })
    got.push(...ids.map(({ topic, partition, offset }) => `${topic}/${partition}:${offset}`))
  }
}

function cursorsOf(rig: HostRig, pattern: string, name = 's'): Record<string, number> {
  const { cursors } = rig.host.subscription(pattern, name).state()
  return Object.fromEntries(
    cursors.map(({ topic, partition, ackedThrough }) => [`${topic}/${partition}`, ackedThrough]),
  )
}

describe('a pattern subscription over restarts', () => {
  it.each(['process', 'power'] as const)('knows its place in every topic (%s)', async (kind) => {
    const rig = await HostRig.start()
    await rig.host.putTopic('a.1', { partitions: 2 })
    for (const partition of [0, 1, 1]) await rig.publish('a.1', 'x', { partition })
    await rig.host.putSubscription('a.*', 's', EARLIEST)
    await rig.host.putTopic('a.2', {})
    await rig.publish('a.2', 'x')
    expect(await consume(rig, 'a.*')).toEqual(['a.1/0:0', 'a.1/1:0', 'a.1/1:1', 'a.2/0:0'])
    await rig.publish('a.2', 'y')
    await rig.crash(kind)
    expect(cursorsOf(rig, 'a.*')).toEqual({ 'a.1/0': 1, 'a.1/1': 2, 'a.2/0': 1 })
    expect(await consume(rig, 'a.*')).toEqual(['a.2/0:1'])
  })

  it.each(['process', 'power'] as const)('reads a topic that it has no record of from offset 0 (%s)', async (kind) => {
    const rig = await HostRig.start()
    await rig.host.putSubscription('a.**', 's', { start: 'latest' })
    await rig.host.putTopic('a.later', {})
    await rig.publish('a.later', 'x')
    await rig.crash(kind)
    expect(await consume(rig, 'a.**')).toEqual(['a.later/0:0'])
  })

  it('keeps settings, and forgets what was deleted', async () => {
    const rig = await HostRig.start()
    await rig.host.putTopic('a.1', {})
    await rig.host.putSubscription('a.*', 'kept', { ...EARLIEST, ackDeadlineMs: 777 })
    await rig.host.putSubscription('a.*', 'gone', EARLIEST)
    await rig.host.deleteSubscription('a.*', 'gone')
    await rig.crash('process')
    expect(rig.host.subscriptions('a.*').map(({ name, settings }) => [name, settings.ackDeadlineMs])).toEqual([
      ['kept', 777],
    ])
    expect(rig.host.subscriptions('a.1')).toEqual([])
    await rig.host.putSubscription('a.*', 'gone', { start: 'latest' })
    await rig.publish('a.1', 'x')
    expect(await consume(rig, 'a.*', 'gone')).toEqual(['a.1/0:0'])
  })

  it('stops reading a topic that becomes its dead-letter topic, and begins anew when it is no longer', async () => {
    const rig = await HostRig.start()
    for (const topic of ['a.1', 'a.dead']) {
      await rig.host.putTopic(topic, {})
      await rig.publish(topic, 'x')
    }
    await rig.host.putSubscription('a.*', 's', EARLIEST)
    expect(await consume(rig, 'a.*')).toEqual(['a.1/0:0', 'a.dead/0:0'])
    await rig.host.putSubscription('a.*', 's', { deadLetter: { topic: 'a.dead' } })
    expect(cursorsOf(rig, 'a.*')).toEqual({ 'a.1/0': 1 })
    await rig.crash('process')
    expect(cursorsOf(rig, 'a.*')).toEqual({ 'a.1/0': 1 })
    await rig.host.putSubscription('a.*', 's', { deadLetter: null })
    expect(await consume(rig, 'a.*')).toEqual(['a.dead/0:0'])
  })

  it('holds segments for its acknowledgements, and is named for it', async () => {
    const rig = await HostRig.start()
    await rig.host.putTopic('a.1', { segmentBytes: 4096, retention: { untilAcked: true } })
    await rig.host.putSubscription('a.*', 's', EARLIEST)
    await rig.publishMany('a.1', 12)
    await rig.maintain()
    expect(rig.start('a.1')).toBe(0)
    expect(rig.host.whyRetained('a.1')).toEqual([
      { reason: 'subscription', subscription: 's', pattern: 'a.*', offset: 0 },
    ])
    await consume(rig, 'a.*')
    await rig.maintain()
    expect(rig.start('a.1')).toBeGreaterThan(0)
  })
})

describe('a topic and a pattern subscription made at the same time', () => {
  const turns = Array.from({ length: 24 }, (_, i) => i)

  it.each(turns)('never miss each other: the topic %i turns later', async (wait) => {
    const rig = await HostRig.start(wait + 1)
    const made = rig.host.putSubscription('a.*', 's', { start: 'latest' })
    await rig.settle(wait)
    await rig.host.putTopic('a.1', {})
    await made
    await rig.publish('a.1', 'x')
    expect(await consume(rig, 'a.*')).toEqual(['a.1/0:0'])
  })

  it.each(turns)('never miss each other: the subscription %i turns later, and a crash', async (wait) => {
    const rig = await HostRig.start(wait + 100)
    const topic = rig.host.putTopic('a.1', { partitions: 2 })
    await rig.settle(wait)
    const made = rig.host.putSubscription('a.*', 's', EARLIEST)
    await Promise.all([topic, made])
    await rig.publish('a.1', 'x', { partition: 1 })
    await rig.crash(wait % 2 === 0 ? 'process' : 'power')
    expect(await consume(rig, 'a.*')).toEqual(['a.1/1:0'])
  })

  it.each(turns)('leave nothing half done when the process dies %i turns in', async (wait) => {
    const rig = await HostRig.start(wait + 200)
    await rig.host.putTopic('a.1', {})
    await rig.publish('a.1', 'x')
    void rig.host.putSubscription('a.*', 's', EARLIEST).catch(() => undefined)
    void rig.host.putTopic('a.2', {}).catch(() => undefined)
    await rig.settle(wait)
    await rig.crash('process')
    await rig.host.putTopic('a.2', {})
    await rig.publish('a.2', 'y')
    await rig.host.putSubscription('a.*', 's', EARLIEST)
    expect(await consume(rig, 'a.*')).toEqual(['a.1/0:0', 'a.2/0:0'])
  })

  it.each(turns)('do not wait for each other for ever: the topic is deleted %i turns in', async (wait) => {
    const rig = await HostRig.start(wait + 300)
    for (const topic of ['a.1', 'a.2']) await rig.host.putTopic(topic, {})
    const made = rig.host.putSubscription('a.*', 's', EARLIEST)
    await rig.settle(wait)
    await rig.host.deleteTopic('a.1')
    await made
    await rig.publish('a.2', 'x')
    expect(await consume(rig, 'a.*')).toEqual(['a.2/0:0'])
    await rig.host.putTopic('a.1', {})
    await rig.publish('a.1', 'y')
    expect(await consume(rig, 'a.*')).toEqual(['a.1/0:0'])
    expect(rig.poison).toEqual([])
  })
})

describe('a consumer of a pattern', () => {
  it('gets its room back when a topic goes that it had messages of', async () => {
    const rig = await HostRig.start()
    for (const topic of ['a.1', 'a.2']) {
      await rig.host.putTopic(topic, {})
      for (let i = 0; i < 3; i++) await rig.publish(topic, 'x')
    }
    await rig.host.putSubscription('a.*', 's', EARLIEST)
    const consumer = new FakeConsumer('c', 3)
    const subscription = rig.host.subscription('a.*', 's')
    subscription.attach(consumer)
    await rig.settle()
    expect(consumer.take()).toHaveLength(3)
    const held = subscription.state().cursors.find(({ topic }) => topic === 'a.1')!
    await rig.host.deleteTopic('a.1')
    await rig.settle()
    expect(held.ackedThrough).toBe(0)
    expect(subscription.state()).toMatchObject({ backlog: 3, unacked: 3, consumers: [{ unacked: 3 }] })
  })

  it('is served at every message of 300 topics by passes that look only at what has something', async () => {
    const rig = await HostRig.start()
    await rig.host.putSubscription('a.*', 's', EARLIEST)
    for (let i = 0; i < 300; i++) await rig.host.putTopic(`a.${i}`, {})
    const consumer = new FakeConsumer('c', 10_000)
    const attachment = rig.host.subscription('a.*', 's').attach(consumer)
    for (let i = 0; i < 300; i += 7) {
      await rig.publish(`a.${i}`, 'x')
      await rig.settle(4)
      attachment.ack([{ topic: `a.${i}`, partition: 0, offset: 0 }])
    }
    await rig.settle()
    expect(consumer.take()).toHaveLength(43)
    expect(rig.host.subscription('a.*', 's').state()).toMatchObject({ backlog: 0, unacked: 0 })
  }, 20_000)
})
