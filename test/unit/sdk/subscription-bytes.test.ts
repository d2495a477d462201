/** What a subscription makes of the bytes that come. */
import type { Message } from '@tidings/sdk'
import { describe, expect, it } from 'vitest'
import { Hands, opened, SubscriptionRig } from '../../support/client-rig.ts'
import { messagesFrame } from '../../support/messages-frame.ts'
import { settle } from '../../support/settle.ts'

describe('a subscription', () => {
  it.each([
    ['a text', (rig: SubscriptionRig) => rig.socket.say('{}')],
    ['no bytes', (rig: SubscriptionRig) => rig.socket.sayBytes(new Uint8Array(0))],
    ['half a frame', (rig: SubscriptionRig) => rig.socket.sayBytes(messagesFrame(0, [{ value: '1' }]).subarray(0, 40))],
    [
      'messages of a topic without a name',
      (rig: SubscriptionRig) => rig.socket.sayBytes(messagesFrame(0, [{}], { topic: 9 })),
    ],
    ['a second welcome', (rig: SubscriptionRig) => rig.welcome('shared', 1)],
    ['a topic told twice', (rig: SubscriptionRig) => rig.say({ type: 'topic', topic: 1, name: 't' })],
    ['a topic out of turn', (rig: SubscriptionRig) => rig.say({ type: 'topic', topic: 7, name: 'u' })],
  ])('replaces a broker that sends %s', async (_what, say) => {
    const rig = await opened({}, () => undefined)
    const first = rig.socket
    say(rig)
    expect([first.isTerminated, rig.errors, rig.subscription.state]).toEqual([true, ['unavailable'], 'waiting'])
    await rig.reopened()
    rig.deliver('0:0')
    expect(await rig.sent()).toEqual([{ type: 'ack', ids: ['0:0'] }])
  })

  it('replaces a broker that does not begin with a welcome, or with nothing at all', async () => {
    const rig = new SubscriptionRig({}, () => undefined)
    rig.socket.open()
    rig.deliver('0:0')
    expect(rig.errors).toEqual(['unavailable'])
    while (rig.platform.sockets.length === 1) rig.platform.clock.runNext()
    rig.socket.open()
    const second = rig.socket
    for (let i = 0; i < 3; i++) {
      rig.platform.clock.advance(5000)
      second.ping()
    }
    expect(second.isTerminated).toBe(true)
  })

  it('shows the bytes of a value, whatever its type, where they lie, and gives a value of bytes a buffer of its own', async () => {
    const messages: Message<unknown>[] = []
    const rig = await opened({}, (message) => void messages.push(message))
    const frame = messagesFrame(0, [
      { value: '{"a":1}' },
      { value: Uint8Array.of(0xff, 0), contentType: 'application/octet-stream', key: 'k', headers: [['h', 'v']] },
      { value: '', contentType: 'text/x-none' },
    ])
    rig.socket.sayBytes(frame)
    await settle()
    expect(messages.map(({ bytes }) => Buffer.from(bytes).toString('latin1'))).toEqual(['{"a":1}', '\xff\0', ''])
    expect(messages.map(({ bytes }) => bytes.buffer === frame.buffer)).toEqual([true, true, true])
    const value = messages[1]!.value as Uint8Array
    expect([value.buffer.byteLength, value.constructor]).toEqual([2, Uint8Array])
  })

  it('reads no more of a message than it is asked for, and gives as bytes what is not what it claims to be', async () => {
    const seen: unknown[] = []
    const rig = await opened({}, ({ value, key, headers, contentType, timestamp }) => {
      seen.push([value, key, headers, contentType, timestamp])
    })
    const bytes = Uint8Array.of(0xff, 0)
    rig.socket.sayBytes(
      messagesFrame(0, [
        { value: '{"a":1}', key: 'ä', headers: [['h', 'v']] },
        { value: '{"a":', contentType: 'application/vnd.x+json' },
        { value: bytes, contentType: 'text/plain' },
        { value: '\ufefft', contentType: 'text/plain; charset=utf-8' },
        { value: bytes, contentType: 'application/octet-stream' },
      ]),
    )
    await settle()
    const time = '2026-01-01T00:00:00.000Z'
    expect(seen).toEqual([
      [{ a: 1 }, 'ä', { h: 'v' }, 'application/json', time],
      [new Uint8Array(Buffer.from('{"a":')), null, {}, 'application/vnd.x+json', time],
      [bytes, null, {}, 'text/plain', time],
      ['\ufefft', null, {}, 'text/plain; charset=utf-8', time],
      [bytes, null, {}, 'application/octet-stream', time],
    ])
  })

  it('says what it had finished of a topic that the next connection has not told of yet', async () => {
    const hands = new Hands()
    const rig = new SubscriptionRig({ concurrency: 2 }, hands.handler)
    rig.socket.open()
    rig.welcome('shared', 3000, true)
    rig.say({ type: 'topic', topic: 0, name: 'a.b' })
    rig.deliver('0:0')
    await settle()
    rig.socket.end(1006)
    await hands.done('a.b/0:0')
    while (rig.platform.sockets.length === 1) rig.platform.clock.runNext()
    rig.socket.open()
    rig.welcome('shared', 3000, true)
    expect(await rig.sent()).toEqual([{ type: 'name', name: 'a.b' }])
    rig.say({ type: 'topic', topic: 0, name: 'a.b' })
    expect(await rig.sent()).toEqual([{ type: 'ack', ids: ['0:0'] }])
  })

  it('runs handlers that end at once in one turn, however many there are', async () => {
    let count = 0
    const rig = await opened({ prefetch: 10_000 }, () => {
      count++
    })
    rig.socket.sayBytes(
      messagesFrame(
        0,
        Array.from({ length: 10_000 }, () => ({ value: '1' })),
      ),
    )
    const [frame] = await rig.sent()
    expect([count, (frame!['ids'] as string[]).length]).toEqual([10_000, 10_000])
  })
})
