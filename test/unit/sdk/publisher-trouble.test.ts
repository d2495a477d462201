import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { connected, Ledger, type MessageFrame, PublisherRig, valuesOf } from '../../support/publisher-rig.ts'
import { settle } from '../../support/settle.ts'

describe('a publisher over bad networks and with bad brokers', () => {
  it('gives a connection up on which an answer is due and none comes', async () => {
    const rig = await connected({ requestTimeoutMs: 1000 })
    rig.publish(1)
    const first = await rig.frame()
    const before = rig.socket
    const sentAt = rig.platform.clock.monotonic()
    await rig.reopened()
    expect(before.isTerminated).toBe(true)
    expect(rig.platform.clock.monotonic() - sentAt).toBeLessThan(2100)
    expect(await rig.frame()).toEqual(first)
  })

  it.each<[string, (rig: PublisherRig, frame: MessageFrame) => void]>([
    ['bytes that are no frame', (rig) => rig.socket.sayBytes(Uint8Array.of(0x21, 1))],
    ['a text', (rig) => rig.socket.say('hello')],
    ['an answer to nothing', (rig, frame) => rig.store({ ...frame, sequence: 77 })],
    ['receipts for another number of messages', (rig, frame) => rig.store({ ...frame, count: 9 })],
    ['an answer to a topic that is not there', (rig, frame) => rig.store({ ...frame, handle: 7 })],
    ['that it cannot read', (rig) => rig.say({ type: 'error', code: 'invalid_argument', detail: '?' })],
  ])('leaves a broker that says %s, and repeats', async (_, say) => {
    const rig = await connected()
    rig.publish(1)
    const first = await rig.frame()
    say(rig, first)
    await rig.reopened()
    expect(await rig.frame()).toEqual(first)
    expect(rig.outcomes).toEqual({})
  })

  it('keeps 10,000 publishes for the minute in which nobody is there, and stores each once and in order', async () => {
    const limits = { bufferBytes: 64 * 1_048_576, batchCount: 3000, batchBytes: 1_048_576 }
    const rig = await connected({ timeoutMs: 120_000, ...limits })
    const { clock } = rig.platform
    const ledger = new Ledger()
    for (let i = 0; i < 2000; i++) rig.publish(i)
    // The first were sent, and stored, and the broker died before it said so.
    for (const frame of await rig.frames()) ledger.log.push(...valuesOf(frame))
    const known = ledger.log.length
    rig.lose()
    for (let i = 2000; i < 10_000; i++) rig.publish(i)
    const backAt = clock.monotonic() + 60_000
    let attempts = 0
    for (let seen = rig.platform.sockets.length; clock.monotonic() < backAt; await rig.next()) {
      if (rig.platform.sockets.length === seen) continue
      seen = rig.platform.sockets.length
      attempts++
      rig.lose()
    }
    expect(attempts).toBeGreaterThan(15)
    await rig.reopened()
    let repeated = 0
    for (let frames = await rig.frames(); frames.length > 0; frames = await rig.frames()) {
      for (const frame of frames) {
        if (repeated < known) {
          rig.store(frame, 1 + repeated)
          repeated += frame.count
          continue
        }
        rig.store(frame, 1 + ledger.log.length)
        ledger.log.push(...valuesOf(frame))
      }
    }
    expect(ledger.log).toEqual(Array.from({ length: 10_000 }, (_, i) => i))
    expect(rig.outcomes).toEqual(Object.fromEntries(ledger.log.map((i) => [i, `0:${Number(i) + 1}`])))
    rig.link.close()
    rig.socket.end(1000)
    expect(clock.pending).toBe(0)
  })

  it('asks for another token when one is refused, once', async () => {
    let asked = 0
    const rig = new PublisherRig({}, () => `token-${++asked}`)
    const refused = { kind: 'refused', status: 401, retryAfter: null, body: '' } as const
    rig.publish(1)
    await settle()
    rig.socket.end(refused)
    while (rig.platform.sockets.length < 2) await rig.next()
    rig.socket.end(refused)
    await settle()
    expect(rig.platform.sockets.map(({ token }) => token)).toEqual(['token-1', 'token-2'])
    expect(rig.outcomes).toEqual({ 1: 'unauthenticated not_stored' })
    rig.publish(2)
    await settle()
    expect(rig.socket.token).toBe('token-3')
  })

  it('tries again later when no token comes', async () => {
    let isThere = false
    const rig = new PublisherRig({}, () => (isThere ? 'token' : new Promise<string>(() => undefined)))
    rig.publish(1, { timeoutMs: 60_000 })
    await settle()
    await rig.next()
    isThere = true
    await rig.reopened()
    rig.store(await rig.frame())
    await settle()
    expect(rig.outcomes).toEqual({ 1: '0:0' })
  })

  it('settles everything when it is closed', async () => {
    const rig = await connected({ bufferBytes: 90 })
    rig.publish('x'.repeat(90), {}, 'flying')
    rig.publish('waiting')
    await settle()
    rig.publisher.close()
    rig.publish('after')
    rig.link.close()
    rig.socket.end(1000)
    await settle()
    expect(rig.outcomes).toEqual({
      flying: 'outcome_unknown unknown',
      waiting: 'aborted not_stored',
      after: 'aborted',
    })
    expect(rig.platform.clock.pending).toBe(0)
  })

  it('flushes: waits for what was published until then', async () => {
    const rig = await connected()
    let isFlushed = false
    rig.publish(1)
    void rig.publisher.flush().then(() => (isFlushed = true))
    const first = await rig.frame()
    expect(isFlushed).toBe(false)
    rig.store(first)
    await settle()
    expect(isFlushed).toBe(true)
  })

  it('loses, doubles and reorders nothing, and says the truth, whatever the network and the broker do', async () => {
    const act = fc.constantFrom('store', 'storeAndLose', 'lose', 'overloaded', 'partial', 'garbage', 'wait', 'publish')
    const poisons = fc.uniqueArray(fc.integer({ min: 0, max: 30 }), { maxLength: 3 })
    await fc.assert(
      fc.asyncProperty(fc.array(act, { maxLength: 60 }), poisons, fc.boolean(), async (acts, poison, isMixed) => {
        const rig = new PublisherRig({ timeoutMs: 1e9, requestTimeoutMs: 1e8, bufferBytes: 600, batchCount: 5 })
        const ledger = new Ledger()
        let published = 0
        let inbox: MessageFrame[] = []
        let sockets = 0
        /** What has arrived of the present connection. */
        const look = async (): Promise<void> => {
          await settle()
          if (rig.platform.sockets.length > sockets) {
            sockets = rig.platform.sockets.length
            inbox = []
            await rig.open()
          }
          if (sockets > 0) inbox.push(...(await rig.frames()))
        }
        const answer = (frame: MessageFrame, how: string): void => {
          const entry = valuesOf(frame).findIndex((value) => poison.includes(value as number))
          if (frame.type === 'publish' && !ledger.isTurn(frame) && ledger.store(frame) === null) {
            return rig.refuse(frame, 'overloaded')
          }
          if (entry !== -1) return rig.refuse(frame, 'invalid_argument', { entry })
          if (how === 'overloaded') return rig.refuse(frame, 'overloaded', { retryAfterMs: 100 })
          const at = ledger.store(frame)!
          if (how === 'partial') rig.refuse(frame, 'storage_full', { mayBeStored: true })
          else if (how === 'storeAndLose') rig.lose()
          else if (how === 'garbage') rig.socket.sayBytes(Uint8Array.of(1, 2, 3))
          else rig.store(frame, at)
        }
        for (const how of acts) {
          await look()
          if (how === 'publish') {
            for (let i = 0; i < 3; i++) {
              const isKeyed = isMixed && published % 7 === 6
              rig.publish(published, isKeyed ? { idempotencyKey: `k${published}` } : {})
              published++
            }
          } else if (how === 'wait') rig.platform.clock.advance(2000)
          else if (how === 'lose' && sockets > 0) rig.lose()
          else {
            const frame = inbox.shift()
            if (frame) answer(frame, how)
          }
        }
        for (let i = 0; i < 500 && Object.keys(rig.outcomes).length < published; i++) {
          await look()
          const frame = inbox.shift()
          if (frame) answer(frame, 'store')
          else rig.platform.clock.advance(10_000)
        }
        const expected = Array.from({ length: published }, (_, i) => i).filter((i) => !poison.includes(i))
        expect(ledger.log).toEqual(expected)
        expect(rig.outcomes).toEqual({
          ...Object.fromEntries(expected.map((value, offset) => [value, `0:${offset}`])),
          ...Object.fromEntries(
            poison
              .filter((value) => value < published)
              .map((value) => [value, expect.stringMatching(/^invalid_argument/) as unknown]),
          ),
        })
      }),
      { numRuns: 150 },
    )
  })
})
