import { describe, expect, it } from 'vitest'
import { connected, type MessageFrame, PublisherRig, recordsOf, valuesOf } from '../../support/publisher-rig.ts'
import { settle } from '../../support/settle.ts'

describe('a publisher', () => {
  it('connects when it has something to send, and opens its topic', async () => {
    const rig = new PublisherRig()
    await settle()
    expect(rig.platform.sockets).toEqual([])
    rig.publish(1)
    await settle()
    expect(rig.socket.url).toBe('ws://a/v1/publish')
    rig.socket.open()
    await settle()
    expect(rig.taken()).toEqual([{ type: 'open', handle: 0, topic: 't' }])
  })

  it('sends what is published in one breath as one frame, and gathers small frames while two are under way', async () => {
    const rig = await connected()
    rig.publish(1)
    rig.publish(2)
    const first = await rig.frame()
    expect([first.type, first.sequence, valuesOf(first)]).toEqual(['publish', 1, [1, 2]])
    for (let i = 3; i < 13; i++) {
      rig.publish(i)
      await settle()
    }
    const others = await rig.frames()
    expect(others.map(valuesOf)).toEqual([[3]])
    rig.store(first)
    const rest = await rig.frame()
    expect([rest.sequence, valuesOf(rest)]).toEqual([3, [4, 5, 6, 7, 8, 9, 10, 11, 12]])
    for (const frame of [...others, rest]) rig.store(frame)
    await settle()
    expect(rig.outcomes).toEqual(Object.fromEntries(Array.from({ length: 12 }, (_, i) => [i + 1, `0:${i + 1}`])))
  })

  it('repeats frames that were not answered as they were, over the next connection, before anything new', async () => {
    const rig = await connected({}, undefined, ['http://a', 'http://b'])
    rig.publish(1)
    await settle()
    rig.publish(2)
    const before = await rig.frames()
    rig.lose()
    rig.publish(3)
    await rig.reopened()
    expect(new URL(rig.socket.url).host).toBe('b')
    const after = await rig.frames()
    expect(after).toEqual(before)
    expect(after.map(({ sequence }) => sequence)).toEqual([1, 2])
    rig.store(after[0]!)
    expect(await rig.frame()).toMatchObject({ sequence: 3 })
  })

  it('puts what needs a key into frames that travel alone, and keys those that have none', async () => {
    const rig = await connected()
    rig.publish(1)
    rig.publish(2, { idempotencyKey: 'mine' })
    rig.publish(3, { delayMs: 5 })
    rig.publish(4)
    const first = await rig.frame()
    expect(valuesOf(first)).toEqual([1])
    rig.store(first)
    const second = await rig.frame()
    expect([second.type, recordsOf(second)]).toEqual([
      'keyed',
      [
        { value: 2, key: 'mine' },
        { value: 3, key: expect.stringMatching(/^[\w-]{21}-0$/) as string },
        { value: 4, key: expect.stringMatching(/^[\w-]{21}-1$/) as string },
      ],
    ])
    rig.publish(5)
    expect(await rig.frames()).toEqual([])
    rig.store(second)
    expect(valuesOf(await rig.frame())).toEqual([5])
  })

  it('waits as long as the broker asks, and goes to another one', async () => {
    const rig = await connected({}, undefined, ['http://a', 'http://b'])
    const { clock } = rig.platform
    rig.publish(1)
    const refusedAt = clock.monotonic()
    const first = await rig.frame()
    rig.refuse(first, 'overloaded', { retryAfterMs: 2000 })
    await rig.reopened()
    expect(new URL(rig.socket.url).host).toBe('b')
    let frames = await rig.frames()
    while (frames.length === 0) {
      await rig.next()
      frames = await rig.frames()
    }
    expect(frames).toEqual([first])
    expect(clock.monotonic() - refusedAt).toBeGreaterThanOrEqual(2000)
  })

  it('gives a refused number to the next frame, and sends what was refused behind it again', async () => {
    const rig = await connected()
    rig.publish(1)
    await settle()
    rig.publish(2)
    await settle()
    const [first, second] = (await rig.frames()) as [MessageFrame, MessageFrame]
    rig.refuse(first, 'permission_denied')
    rig.publish(3)
    expect(await rig.frames()).toEqual([])
    rig.refuse(second, 'overloaded', { retryAfterMs: 250 })
    const again = await rig.frames()
    expect(again.map((frame) => [frame.sequence, valuesOf(frame)])).toEqual([
      [1, [2]],
      [2, [3]],
    ])
    expect(rig.outcomes).toEqual({ 1: 'permission_denied not_stored' })
  })

  it('stores the neighbours of an entry that the broker blames', async () => {
    const rig = await connected()
    for (let i = 0; i < 9; i++) rig.publish(i)
    const first = await rig.frame()
    rig.refuse(first, 'schema_violation', { entry: 5 })
    const second = await rig.frame()
    expect([second.sequence, valuesOf(second)]).toEqual([first.sequence, [0, 1, 2, 3, 4, 6, 7, 8]])
    rig.store(second)
    await settle()
    expect(rig.outcomes['5']).toBe('schema_violation not_stored')
    expect(rig.outcomes['8']).toBe('0:8')
  })

  it('sends a frame of which some may be stored again as it was', async () => {
    const rig = await connected()
    rig.publish(1)
    const first = await rig.frame()
    rig.refuse(first, 'storage_full', { mayBeStored: true })
    rig.publish(2)
    await rig.next()
    expect((await rig.frames()).map((frame) => [frame.sequence, valuesOf(frame)])).toEqual([
      [first.sequence, [1]],
      [first.sequence + 1, [2]],
    ])
  })

  it('begins anew under another name where a number is lost, and says what may be stored', async () => {
    const rig = await connected()
    rig.publish(1)
    const first = await rig.frame()
    if (first.type !== 'publish') throw new Error(first.type)
    rig.refuse(first, 'conflict')
    rig.publish(2)
    const second = await rig.frame()
    expect(second).toMatchObject({ type: 'publish', sequence: 0 })
    expect((second as typeof first).producerId).not.toBe(first.producerId)
    expect(rig.outcomes).toEqual({ 1: 'outcome_unknown unknown' })
  })

  it('opens a topic again that is another one by now', async () => {
    const rig = await connected()
    rig.publish(1)
    rig.refuse(await rig.frame(), 'topic_not_found')
    await settle()
    expect(rig.taken()).toEqual([
      { type: 'shut', handle: 0 },
      { type: 'open', handle: 0, topic: 't' },
    ])
    rig.say({ type: 'opened', handle: 0, partitionCount: 4, maxMessageBytes: 100 })
    const frame = await rig.frame()
    expect(frame).toMatchObject({ partitionCount: 4 })
    rig.refuse(frame, 'topic_not_found')
    await settle()
    expect(rig.outcomes).toEqual({ 1: 'topic_not_found not_stored' })
  })

  it('sends what was under way to a topic that is deleted to the one that it opens instead, in order', async () => {
    const rig = await connected()
    const under: MessageFrame[] = []
    for (let i = 1; i <= 2; i++) {
      rig.publish(i)
      under.push(await rig.frame())
    }
    for (const frame of under) rig.refuse(frame, 'topic_not_found')
    await settle()
    expect(rig.taken()).toEqual([
      { type: 'shut', handle: 0 },
      { type: 'open', handle: 0, topic: 't' },
    ])
    rig.say({ type: 'opened', handle: 0, partitionCount: 1, maxMessageBytes: 100 })
    const again = await rig.frames()
    expect(again.flatMap(valuesOf)).toEqual([1, 2])
    for (const frame of again) rig.store(frame)
    await settle()
    expect(rig.outcomes).toEqual({ 1: '0:1', 2: '0:2' })
  })

  it('fails what the broker does not let it publish at all', async () => {
    const rig = new PublisherRig()
    rig.publish(1)
    await settle()
    rig.socket.open()
    await settle()
    rig.taken()
    rig.say({
      type: 'refused',
      frame: 'open',
      handle: 0,
      sequence: 0,
      code: 'topic_not_found',
      detail: 'none',
      entry: null,
      mayBeStored: false,
      retryAfterMs: 0,
    })
    await settle()
    expect(rig.outcomes).toEqual({ 1: 'topic_not_found not_stored' })
  })

  it('waits for room when the buffer is full, and lets in as many as there is room for', async () => {
    const rig = await connected({ bufferBytes: 200 })
    for (let i = 0; i < 8; i++) rig.publish('x'.repeat(100), {}, String(i))
    rig.tryPublish('no')
    await settle()
    expect(rig.outcomes).toEqual({ no: 'overloaded' })
    for (let frames = await rig.frames(); frames.length > 0; frames = await rig.frames()) {
      expect(frames.reduce((sum, { count }) => sum + count, 0)).toBeLessThan(3)
      for (const frame of frames) rig.store(frame)
    }
    expect(rig.outcomes).toEqual({
      no: 'overloaded',
      ...Object.fromEntries(Array.from({ length: 8 }, (_, i) => [i, `0:${i + 1}`])),
    })
  })

  it('refuses at once when too many wait for room, and fails in time what found none', async () => {
    const rig = await connected({ bufferBytes: 50, waitingCount: 1, requestTimeoutMs: 5000 })
    rig.publish('x'.repeat(100), {}, 'flying')
    rig.publish(2, { timeoutMs: 500 })
    rig.publish(3)
    const first = await rig.frame()
    rig.platform.clock.advance(600)
    await settle()
    expect(rig.outcomes).toEqual({ 2: 'overloaded not_stored', 3: 'overloaded' })
    rig.store(first)
    await settle()
    expect(rig.outcomes).toMatchObject({ flying: '0:1' })
  })

  it('checks an entry before it is sent, so that its neighbours do not suffer', async () => {
    const rig = await connected()
    rig.publish(1n)
    rig.publish(undefined, {}, 'nothing')
    rig.publish('long', { key: 'k'.repeat(2000) })
    rig.publish('good')
    expect(valuesOf(await rig.frame())).toEqual(['good'])
    expect(rig.outcomes).toEqual({ 1: 'invalid_argument', nothing: 'invalid_argument', long: 'invalid_argument' })
  })

  it('takes back what is not sent, and says what may be stored', async () => {
    const rig = await connected()
    const aborter = new AbortController()
    const { signal } = aborter
    rig.publish('flying', { signal })
    const first = await rig.frame()
    rig.publish('queued', { signal })
    aborter.abort()
    rig.publish('late', { signal })
    await settle()
    expect(rig.outcomes).toEqual({
      flying: 'outcome_unknown unknown',
      queued: 'aborted not_stored',
      late: 'aborted',
    })
    expect(await rig.frames()).toEqual([])
    rig.lose()
    await settle()
    // Nobody waits for anything, so nothing is repeated and no connection made.
    expect(rig.platform.clock.pending).toBe(0)
    rig.publish('next')
    await rig.open()
    const next = await rig.frame()
    expect([valuesOf(next), next.sequence]).toEqual([['next'], 0])
    expect((next as { producerId: number }).producerId).not.toBe((first as { producerId: number }).producerId)
  })

  it('fails in time what nobody took, and stops looking for a broker', async () => {
    const rig = new PublisherRig()
    rig.publish(1)
    for (let tries = 0; rig.outcomes['1'] === undefined; tries++) {
      expect(tries).toBeLessThan(500)
      await settle()
      if (rig.platform.sockets.length > 0) rig.lose()
      await rig.next()
    }
    expect(rig.outcomes).toEqual({ 1: 'unavailable not_stored' })
    rig.lose()
    await settle()
    expect(rig.platform.clock.pending).toBe(0)
  })
})
