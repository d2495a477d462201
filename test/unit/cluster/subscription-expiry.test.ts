import { describe, expect, it } from 'vitest'
import { FakeConsumer } from '../../support/fake-consumer.ts'
import { HostRig } from '../../support/host-rig.ts'

const SOON = { expireAfterMs: 3000 }

async function rig(settings: object = SOON): Promise<HostRig> {
  const made = await HostRig.start()
  await made.host.putTopic('orders', {})
  await made.host.putSubscription('orders', 's', settings)
  return made
}

const names = ({ host }: HostRig): string[] => host.subscriptions('orders').map(({ name }) => name)

async function pass(made: HostRig, ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 500) {
    made.clock.advance(500)
    await made.settle(20)
  }
}

describe('a subscription that expires', () => {
  it('is deleted after so long without a consumer or a pull', async () => {
    const made = await rig()
    await pass(made, 2500)
    expect(names(made)).toEqual(['s'])
    await pass(made, 1500)
    expect(names(made)).toEqual([])
    expect(() => made.host.subscription('orders', 's')).toThrow('no subscription')
    await made.crash('power')
    expect(names(made)).toEqual([])
  })

  it('lives while a consumer is attached, and counts from when it left', async () => {
    const made = await rig()
    const attachment = made.host.subscription('orders', 's').attach(new FakeConsumer('c'))
    await pass(made, 20_000)
    expect(names(made)).toEqual(['s'])
    attachment.detach()
    await pass(made, 2500)
    expect(names(made)).toEqual(['s'])
    await pass(made, 1500)
    expect(names(made)).toEqual([])
  })

  it('lives while a pull waits, and by pulls that come in time', async () => {
    const made = await rig()
    const waiting = made.host.subscription('orders', 's').pull(1, 10_000)
    await pass(made, 9000)
    expect(names(made)).toEqual(['s'])
    await pass(made, 1500)
    await waiting
    await pass(made, 1000)
    await made.host.subscription('orders', 's').pull(1, 0)
    await pass(made, 2500)
    expect(names(made)).toEqual(['s'])
    await pass(made, 1500)
    expect(names(made)).toEqual([])
  })

  it('counts anew after a restart, and after a change', async () => {
    const made = await rig()
    await pass(made, 2500)
    await made.crash('process')
    await pass(made, 2500)
    await made.host.putSubscription('orders', 's', { ackDeadlineMs: 1000 })
    await pass(made, 2500)
    expect(names(made)).toEqual(['s'])
    await made.host.putSubscription('orders', 's', { expireAfterMs: null })
    await pass(made, 100_000)
    expect(names(made)).toEqual(['s'])
    await made.host.putSubscription('orders', 's', { expireAfterMs: 1 })
    await pass(made, 1500)
    expect(names(made)).toEqual([])
  })

  it('lives on with a consumer that came before its turn, and tells one that came after', async () => {
    const made = await rig({ expireAfterMs: 1000 })
    const subscription = made.host.subscription('orders', 's')
    // The look at what has expired waits for this change of the topic.
    const changing = made.host.putTopic('orders', { partitions: 2 })
    made.clock.advance(1000)
    const consumer = new FakeConsumer('c')
    subscription.attach(consumer)
    await changing
    await made.settle()
    expect(names(made)).toEqual(['s'])
    expect(consumer.endedBecause).toBeNull()

    const other = await rig({ expireAfterMs: 1000 })
    const late = other.host.subscription('orders', 's')
    other.clock.advance(1000)
    await other.settle(1)
    let told = ''
    try {
      const port = new FakeConsumer('late')
      late.attach(port)
      await other.settle()
      told = port.endedBecause ?? ''
    } catch (error) {
      told = (error as { code: string }).code
    }
    expect(['deleted', 'subscription_not_found']).toContain(told)
    expect(names(other)).toEqual([])
  })
})

describe('a topic that expires with its subscriptions', () => {
  const TOGETHER = { expireWithSubscriptions: true }
  const topics = ({ host }: HostRig): string[] => host.topics().map(({ name }) => name)

  it('goes with the last of them, for good', async () => {
    const made = await rig()
    await made.host.putTopic('orders', TOGETHER)
    await made.host.putSubscription('orders', 'other', { expireAfterMs: 6000 })
    await pass(made, 4500)
    expect(names(made)).toEqual(['other'])
    await pass(made, 3000)
    expect(topics(made)).toEqual([])
    await made.crash('power')
    expect(topics(made)).toEqual([])
  })

  it('stays while one of them does not expire, and when its last one is deleted by hand', async () => {
    const made = await rig()
    await made.host.putTopic('orders', TOGETHER)
    await made.host.putSubscription('orders', 'lasting', {})
    await pass(made, 9000)
    expect(names(made)).toEqual(['lasting'])
    await made.host.deleteSubscription('orders', 'lasting')
    await pass(made, 3000)
    expect(topics(made)).toEqual(['orders'])
  })
})
