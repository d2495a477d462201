import { describe, expect, it } from 'vitest'
import type { Message } from '../../../sdk/src/message.ts'
import { Hands, opened, SubscriptionRig } from '../../support/client-rig.ts'
import { settle } from '../../support/settle.ts'

/** Notes when a promise has resolved. */
function noted(promise: Promise<unknown>): () => boolean {
  let isDone = false
  void promise.then(() => {
    isDone = true
  })
  return () => isDone
}

describe('a drain that a handler calls', () => {
  it('does not wait for that handler, and its message is acknowledged when it ends', async () => {
    let ended: (() => boolean) | undefined
    const rig: SubscriptionRig = await opened({}, async () => {
      const drained = rig.subscription.drain()
      ended = noted(drained)
      await drained
    })
    rig.deliver('0:0')
    const last = await rig.sent()
    expect(ended?.()).toBe(true)
    expect(last).toEqual([{ type: 'pause' }, { type: 'ack', ids: ['0:0'], request: 1 }])
    rig.acked(1, ['0:0'])
    await rig.soon()
    expect(rig.socket.closedWith).toBe(1000)
    rig.socket.end(1000)
    await rig.subscription.closed
    expect(rig.platform.clock.pending).toBe(0)
  })

  it('waits for the other handlers, and is told of its own message after an await', async () => {
    const hands = new Hands()
    const ended: (() => boolean)[] = []
    const rig: SubscriptionRig = await opened({ concurrency: 3 }, async (message) => {
      if (message.offset === 2) return void (await hands.handler(message))
      await settle()
      const drained = rig.subscription.drain({ inside: message })
      ended.push(noted(drained))
      await drained
    })
    const startedAt = rig.platform.clock.monotonic()
    for (const id of ['0:0', '0:1', '0:2']) rig.deliver(id)
    await settle()
    await settle()
    expect(ended.map((isEnded) => isEnded())).toEqual([false, false])
    await hands.done('0:2')
    await rig.soon()
    expect(ended.map((isEnded) => isEnded())).toEqual([true, true])
    rig.acked(1, ['0:0', '0:1', '0:2'])
    await rig.soon()
    rig.socket.end(1000)
    await rig.subscription.closed
    expect(rig.platform.clock.monotonic()).toBe(startedAt)
  })
})

describe('a drain of a loop', () => {
  const started = async (): Promise<[SubscriptionRig, AsyncIterator<Message<number>>]> => {
    const rig = new SubscriptionRig({}, null)
    const iterator = rig.subscription[Symbol.asyncIterator]()
    await rig.open()
    for (const id of ['0:0', '0:1']) rig.deliver(id)
    return [rig, iterator]
  }
  const released = async (rig: SubscriptionRig): Promise<unknown[]> =>
    (await rig.sent()).filter(({ type }) => type === 'release').flatMap(({ ids }) => ids)

  it('waits for the message that the body has', async () => {
    const [rig, iterator] = await started()
    const { value } = await iterator.next()
    void rig.subscription.drain()
    expect(await released(rig)).toEqual(['0:1'])
    void (value as Message<number>).ack()
    expect((await rig.sent()).at(-1)).toEqual({ type: 'ack', ids: ['0:0'], request: 1 })
  })

  it('hands back at once what the body has left behind unsettled', async () => {
    const [rig, iterator] = await started()
    await iterator.next()
    await iterator.next()
    const next = iterator.next()
    void rig.subscription.drain()
    expect(await next).toEqual({ done: true, value: undefined })
    expect(await released(rig)).toEqual(['0:0', '0:1'])
  })

  it('hands the rest back as soon as the body asks for the next', async () => {
    const [rig, iterator] = await started()
    await iterator.next()
    void rig.subscription.drain()
    expect(await released(rig)).toEqual(['0:1'])
    expect((await iterator.next()).done).toBe(true)
    expect(await released(rig)).toEqual(['0:0'])
  })

  it('does not wait for a body that says it is inside', async () => {
    const [rig, iterator] = await started()
    const { value } = await iterator.next()
    const ended = noted(rig.subscription.drain({ inside: value as Message<number> }))
    await settle()
    expect(ended()).toBe(true)
  })
})

describe('a drain over a connection that is half open', () => {
  it('is over five seconds after the last acknowledgement', async () => {
    const rig = await opened({}, () => undefined)
    rig.deliver('0:0')
    await rig.sent()
    const ended = noted(rig.subscription.drain())
    await settle()
    rig.platform.clock.advance(4999)
    await settle()
    expect([ended(), rig.socket.isTerminated]).toEqual([false, false])
    rig.platform.clock.advance(1)
    await settle()
    expect([ended(), rig.socket.isTerminated]).toEqual([true, true])
    expect(rig.platform.clock.pending).toBe(0)
  })
})
