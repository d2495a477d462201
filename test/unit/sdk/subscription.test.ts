import { describe, expect, it } from 'vitest'
import type { Message } from '../../../sdk/src/message.ts'
import type { SubscribeOptions } from '../../../sdk/src/subscribe-options.ts'
import { Hands, opened, SubscriptionRig } from '../../support/client-rig.ts'
import { settle } from '../../support/settle.ts'

describe('a subscription with a handler', () => {
  it('acknowledges what its handler did, all of one turn in one frame', async () => {
    const hands = new Hands()
    const rig = await opened({ concurrency: 2 }, hands.handler)
    for (const id of ['0:0', '0:1', '0:2']) rig.deliver(id)
    await settle()
    expect(hands.begun).toEqual(['0:0', '0:1'])
    await hands.done('0:0')
    await hands.done('0:1')
    expect([hands.begun.at(-1), await rig.sent()]).toEqual(['0:2', [{ type: 'ack', ids: ['0:0', '0:1'] }]])
  })

  it('hands back what its handler failed on, with the reason, and tells the user', async () => {
    const failures: unknown[] = []
    const hands = new Hands()
    const onFailure = (error: unknown, message: Message<unknown>): void => {
      failures.push([String(error), message.id])
      throw new Error('a callback that throws is not our trouble')
    }
    const rig = await opened({ onFailure }, hands.handler)
    rig.deliver('0:0')
    rig.deliver('0:1')
    await settle()
    await hands.fail('0:0', new RangeError('too far'))
    expect(await rig.sent()).toEqual([{ type: 'nack', ids: ['0:0'], reason: 'RangeError: too far' }])
    await hands.fail('0:1', 'just text')
    expect(await rig.sent()).toEqual([{ type: 'nack', ids: ['0:1'], reason: 'just text' }])
    expect(failures).toEqual([
      ['RangeError: too far', '0:0'],
      ['just text', '0:1'],
    ])
  })

  it.each<[string, unknown]>([
    ['an object without a text', Object.create(null)],
    ['an error whose message is none', Object.assign(new Error('x'), { message: Symbol('y') })],
  ])('hands back what its handler failed on with %s', async (_, thrown) => {
    const hands = new Hands()
    const rig = await opened({}, hands.handler)
    rig.deliver('0:0')
    await settle()
    await hands.fail('0:0', thrown)
    const reason = 'a handler failed with what has no text'
    expect(await rig.sent()).toEqual([{ type: 'nack', ids: ['0:0'], reason }])
    expect(rig.subscription.state).toBe('open')
  })

  it.each<[string, (message: Message<number>) => void]>([
    ['a negative delay', (message) => message.nack({ delayMs: -1 })],
    ['a delay that is NaN', (message) => message.nack({ delayMs: Number.NaN })],
    ['a delay beyond all timers', (message) => message.nack({ delayMs: 1e15 })],
    ['a reason that is no text', (message) => message.nack({ reason: 5 as never })],
    ['an error as the reason', (message) => void message.reject(new Error('x') as never)],
    ['an extension that is none', (message) => message.extend(undefined as never)],
  ])('refuses %s, which then fails the handler', async (_, settleIt) => {
    const rig = await opened({}, settleIt)
    rig.deliver('0:0')
    await settle()
    const reason = expect.stringMatching(/^TidingsError: (?:delayMs|ms|reason) must be /)
    expect(await rig.sent()).toEqual([{ type: 'nack', ids: ['0:0'], reason }])
  })

  it('leaves to the handler what the handler settles itself', async () => {
    const rig = await opened({}, (message) => {
      if (message.offset === 0) message.release()
      else if (message.offset === 1) message.nack({ delayMs: 0 })
      else if (message.offset === 2) void message.reject('bad')
      else void message.ack()
      message.nack()
    })
    for (let i = 0; i < 4; i++) rig.deliver(`0:${i}`)
    await settle()
    await settle()
    expect(await rig.sent()).toEqual([
      { type: 'nack', ids: ['0:1'], delayMs: 0 },
      { type: 'release', ids: ['0:0'] },
      { type: 'reject', ids: ['0:2'], reason: 'bad', request: 1 },
      { type: 'ack', ids: ['0:3'], request: 2 },
    ])
  })

  it('keeps deadlines ahead while messages wait and while they are handled', async () => {
    const hands = new Hands()
    const rig = await opened({}, hands.handler)
    rig.deliver('0:0')
    rig.deliver('0:1')
    rig.platform.clock.advance(1000)
    expect(await rig.sent()).toEqual([{ type: 'extend', ids: ['0:0', '0:1'], ms: 3000 }])
    await hands.done('0:0')
    rig.platform.clock.advance(1000)
    expect(await rig.sent()).toEqual([
      { type: 'ack', ids: ['0:0'] },
      { type: 'extend', ids: ['0:1'], ms: 3000 },
    ])
  })

  it('keeps the order of a key, and puts what waits behind a failure back', async () => {
    const hands = new Hands()
    const rig = await opened({ type: 'key_shared', concurrency: 10 }, hands.handler)
    rig.deliver('0:0', 'a')
    rig.deliver('0:1', 'a')
    rig.deliver('0:2', 'b')
    await settle()
    expect(hands.begun).toEqual(['0:0', '0:2'])
    await hands.fail('0:0', new Error('x'))
    expect(await rig.sent()).toEqual([
      { type: 'nack', ids: ['0:0'], reason: 'Error: x' },
      { type: 'release', ids: ['0:1'] },
      { type: 'ack', request: 0x80000000, ids: [] },
    ])
    rig.deliver('0:0', 'a', 2)
    rig.deliver('0:1', 'a')
    await settle()
    expect(hands.begun).toEqual(['0:0', '0:2', '0:0 (2)'])
    await hands.done('0:0')
    expect(hands.begun.at(-1)).toBe('0:1')
  })

  it('goes by what the broker says that the subscription is', async () => {
    const hands = new Hands()
    const rig = new SubscriptionRig({ concurrency: 10 }, hands.handler)
    rig.socket.open()
    rig.welcome('key_shared', 60_000)
    rig.deliver('0:0', 'a')
    rig.deliver('0:1', 'a')
    await settle()
    expect(hands.begun).toEqual(['0:0'])
    rig.platform.clock.advance(19_999)
    expect(await rig.sent()).toEqual([])
    rig.platform.clock.advance(1)
    expect((await rig.sent()).find(({ type }) => type === 'extend')).toMatchObject({ ms: 60_000, ids: ['0:0', '0:1'] })
  })

  it('goes on over a lost connection and does nothing twice', async () => {
    const hands = new Hands()
    const rig = await opened({ concurrency: 2 }, hands.handler)
    for (const id of ['0:0', '0:1', '0:2', '0:3']) rig.deliver(id)
    await settle()
    await hands.done('0:0')
    await rig.sent()
    rig.socket.end(1006)
    await hands.done('0:1')
    await rig.reopened()
    for (const id of ['0:0', '0:1', '0:2', '0:3']) rig.deliver(id, null, 2)
    await settle()
    expect(hands.begun).toEqual(['0:0', '0:1', '0:2', '0:3 (2)'])
    await hands.done('0:2')
    expect(await rig.sent()).toEqual([{ type: 'ack', ids: ['0:0', '0:1', '0:2'] }])
    expect(rig.errors).toEqual(['unavailable'])
  })

  it('handles again what its handler handed back and still has in hand', async () => {
    const begun: number[] = []
    let end = (): void => undefined
    const rig = await opened({ concurrency: 2 }, (message) => {
      begun.push(message.attempt)
      message.nack({ delayMs: 0 })
      return new Promise<void>((resolve) => (end = resolve))
    })
    rig.deliver('0:0')
    await rig.sent()
    rig.deliver('0:0', null, 2)
    await settle()
    expect(begun).toEqual([1, 2])
    end()
    await settle()
    rig.deliver('0:1')
    await settle()
    expect(begun).toEqual([1, 2, 1])
  })

  it('says nothing of a failure under a connection that is gone: the message comes again anyway', async () => {
    const hands = new Hands()
    const rig = await opened({}, hands.handler)
    rig.deliver('0:0')
    await settle()
    rig.socket.end(1006)
    await hands.fail('0:0', new Error('x'))
    await rig.reopened()
    expect(await rig.sent()).toEqual([])
    rig.deliver('0:0', null, 2)
    await settle()
    expect(hands.begun).toEqual(['0:0', '0:0 (2)'])
  })

  it('tells errors and gaps as they come', async () => {
    const gaps: unknown[] = []
    const rig = await opened({ onGap: (gap) => gaps.push(gap) }, () => undefined)
    rig.say({ type: 'gap', topic: 0, partition: 0, from: 3, to: 6 })
    rig.say({ type: 'error', request: 0, code: 'storage_full', detail: 'x' })
    rig.say({ type: 'error', request: 0, code: 'whatever', detail: 'x' })
    rig.socket.sayBytes(Uint8Array.of(0x7f, 1, 2, 3))
    expect([gaps, rig.errors]).toEqual([[{ topic: 't', partition: 0, from: 3, to: 5 }], ['storage_full', 'internal']])
  })

  it('replaces a broker that sends without end', async () => {
    const hands = new Hands()
    const rig = await opened({ prefetch: 1 }, hands.handler)
    const first = rig.socket
    for (let i = 0; i < 103; i++) rig.deliver(`0:${i}`)
    expect(first.isTerminated).toBe(true)
  })

  it('ends with the error when the subscription is deleted', async () => {
    const rig = await opened({}, () => undefined)
    rig.socket.end(4410)
    await expect(rig.subscription.closed).rejects.toMatchObject({ code: 'subscription_not_found', retryable: false })
    expect(rig.subscription.state).toBe('closed')
  })
})

describe('a drain', () => {
  it('is hurried by one that has less time', async () => {
    const hands = new Hands()
    const rig = await opened({}, hands.handler)
    rig.deliver('0:0')
    await settle()
    void rig.subscription.drain()
    expect(await rig.sent()).toEqual([{ type: 'pause' }])
    void rig.subscription.drain({ timeoutMs: 1000 })
    rig.platform.clock.advance(999)
    expect((await rig.sent()).filter(({ type }) => type === 'release')).toEqual([])
    rig.platform.clock.advance(1)
    expect((await rig.sent()).at(-1)).toEqual({ type: 'release', ids: ['0:0'] })
    rig.socket.end(1000)
    await rig.subscription.closed
    expect(rig.platform.clock.pending).toBe(0)
  })

  it('finishes what runs, hands the rest back, hears that all is durable, and closes', async () => {
    const hands = new Hands()
    const rig = await opened({ concurrency: 1 }, hands.handler)
    rig.deliver('0:0')
    rig.deliver('0:1')
    await settle()
    await hands.done('0:0')
    rig.deliver('0:2')
    expect(await rig.sent()).toEqual([{ type: 'ack', ids: ['0:0'] }])
    let isDrained = false
    void rig.subscription.drain().then(() => (isDrained = true))
    expect(await rig.sent()).toEqual([{ type: 'pause' }, { type: 'release', ids: ['0:2'] }])
    rig.deliver('0:3')
    expect(await rig.sent()).toEqual([{ type: 'release', ids: ['0:3'] }])
    await hands.done('0:1')
    const last = await rig.sent()
    expect(last).toEqual([{ type: 'ack', ids: ['0:0', '0:1'], request: 1 }])
    rig.acked(1, ['0:0', '0:1'])
    await rig.soon()
    expect([rig.socket.closedWith, isDrained]).toEqual([1000, false])
    rig.socket.end(1000)
    await settle()
    expect([isDrained, rig.platform.clock.pending]).toEqual([true, 0])
    await rig.subscription.closed
  })

  it('hands back what takes too long, and does not wait for a broker that is silent', async () => {
    const hands = new Hands()
    const rig = await opened({}, hands.handler)
    rig.deliver('0:0')
    await settle()
    let isDrained = false
    void rig.subscription.drain({ timeoutMs: 1000 }).then(() => (isDrained = true))
    rig.platform.clock.advance(1000)
    expect((await rig.sent()).at(-1)).toEqual({ type: 'release', ids: ['0:0'] })
    for (let i = 0; i < 20 && !isDrained; i++) {
      rig.platform.clock.advance(1000)
      await settle()
    }
    expect(isDrained).toBe(true)
    await hands.done('0:0')
    expect(rig.platform.clock.pending).toBe(0)
  })

  it('waits for handlers while there is no connection, and makes none', async () => {
    const hands = new Hands()
    const rig = await opened({}, hands.handler)
    rig.deliver('0:0')
    await settle()
    rig.socket.end(1006)
    let isDrained = false
    void rig.subscription.drain().then(() => (isDrained = true))
    await settle()
    expect(isDrained).toBe(false)
    await hands.done('0:0')
    await rig.soon()
    expect([isDrained, rig.platform.sockets.length]).toEqual([true, 1])
  })

  it('of a subscription that never began is over at once', async () => {
    const rig = new SubscriptionRig({}, null)
    await rig.subscription.drain()
    expect(rig.platform.sockets).toEqual([])
  })
})

describe('a subscription without a handler', () => {
  const started = async (
    options: SubscribeOptions = {},
  ): Promise<[SubscriptionRig, AsyncIterator<Message<number>>]> => {
    const rig = new SubscriptionRig(options, null)
    expect(rig.platform.sockets).toEqual([])
    const iterator = rig.subscription[Symbol.asyncIterator]()
    await rig.open()
    return [rig, iterator]
  }

  it('gives messages in turn, to as many as ask', async () => {
    const [rig, iterator] = await started()
    const early = [iterator.next(), iterator.next()]
    for (const id of ['0:0', '0:1', '0:2']) rig.deliver(id)
    const all = [...(await Promise.all(early)), await iterator.next()]
    expect(all.map(({ value }) => (value as Message<number>).id)).toEqual(['0:0', '0:1', '0:2'])
  })

  it('confirms an acknowledgement that is awaited, or says that the message may come again', async () => {
    const [rig, iterator] = await started()
    rig.deliver('0:0')
    rig.deliver('0:1')
    const acks = [0, 1].map(async () => ((await iterator.next()).value as Message<number>).ack())
    await settle()
    const [frame] = await rig.sent()
    expect(frame).toEqual({ type: 'ack', ids: ['0:0', '0:1'], request: 1 })
    rig.acked(1, ['0:0'])
    expect(await Promise.all(acks)).toEqual([true, false])
  })

  it('asks again over the next connection when the answer was lost with the first', async () => {
    const [rig, iterator] = await started()
    rig.deliver('0:0')
    const acked = ((await iterator.next()).value as Message<number>).ack()
    await rig.sent()
    rig.socket.end(1006)
    const before = rig.platform.sockets.length
    while (rig.platform.sockets.length === before) rig.platform.clock.runNext()
    rig.socket.open()
    rig.welcome('shared', 3000)
    const [frame] = await rig.sent()
    expect(frame).toEqual({ type: 'ack', ids: ['0:0'], request: 2 })
    rig.acked(2, ['0:0'])
    expect(await acked).toBe(true)
  })

  it('settles every acknowledgement when there is no next connection', async () => {
    const [rig, iterator] = await started()
    rig.deliver('0:0')
    const acked = ((await iterator.next()).value as Message<number>).ack()
    const next = iterator.next()
    rig.socket.end(4410)
    expect(await acked).toBe(false)
    await expect(next).rejects.toMatchObject({ code: 'subscription_not_found' })
    await expect(iterator.next()).rejects.toMatchObject({ code: 'subscription_not_found' })
  })

  it('drains when the loop is left', async () => {
    const [rig, iterator] = await started()
    for (const id of ['0:0', '0:1', '0:2']) rig.deliver(id)
    const acked = ((await iterator.next()).value as Message<number>).ack()
    await iterator.next()
    const left = iterator.return!()
    const frames = await rig.sent()
    expect(frames.filter(({ type }) => type === 'release').flatMap(({ ids }) => ids)).toEqual(['0:1', '0:2'])
    for (const { request } of frames) if (request) rig.acked(request, ['0:0'])
    await rig.soon()
    rig.socket.end(1000)
    expect(await left).toEqual({ done: true, value: undefined })
    expect([await acked, await iterator.next()]).toEqual([true, { done: true, value: undefined }])
    expect(rig.platform.clock.pending).toBe(0)
  })

  it('gives a message that came again to its taker as another one', async () => {
    const [rig, iterator] = await started()
    rig.deliver('0:0')
    await iterator.next()
    rig.socket.end(1006)
    await rig.reopened()
    rig.deliver('0:0', null, 2)
    expect(((await iterator.next()).value as Message<number>).attempt).toBe(2)
  })
})
