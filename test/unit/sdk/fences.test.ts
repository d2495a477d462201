import { describe, expect, it } from 'vitest'
import { Hands, opened, type SubscriptionRig } from '../../support/client-rig.ts'
import { settle } from '../../support/settle.ts'

/** The number of the question that the client asks behind a failure. */
async function question(rig: SubscriptionRig): Promise<unknown> {
  const asked = (await rig.sent()).filter(({ type }) => type === 'ack')
  expect(asked).toEqual([{ type: 'ack', request: expect.any(Number) as number, ids: [] }])
  return asked[0]!['request']
}

describe('a failure that the broker has not heard of yet', () => {
  it('sends what comes of its key meanwhile back, uncounted, and lets other keys go on', async () => {
    const hands = new Hands()
    const rig = await opened({ type: 'key_shared', concurrency: 10 }, hands.handler)
    rig.deliver('0:0', 'a')
    await settle()
    await hands.fail('0:0', new Error('x'))
    rig.deliver('0:1', 'a')
    rig.deliver('0:2', 'b')
    rig.deliver('0:3')
    await settle()
    expect(hands.begun).toEqual(['0:0', '0:2', '0:3'])
    expect((await rig.sent()).slice(0, 2)).toEqual([
      { type: 'nack', ids: ['0:0'], reason: 'Error: x' },
      { type: 'release', ids: ['0:1'] },
    ])
  })

  it('holds nothing back any more when the broker has answered', async () => {
    const hands = new Hands()
    const rig = await opened({ type: 'key_shared', concurrency: 10 }, hands.handler)
    rig.deliver('0:0', 'a')
    await settle()
    await hands.fail('0:0', new Error('x'))
    rig.acked(await question(rig), [])
    rig.deliver('0:1', 'a')
    await settle()
    expect(hands.begun).toEqual(['0:0', '0:1'])
  })

  it('holds nothing back any more when the failed message comes again, or everything does', async () => {
    const hands = new Hands()
    const rig = await opened({ type: 'key_shared', concurrency: 10 }, hands.handler)
    rig.deliver('0:0', 'a')
    await settle()
    await hands.fail('0:0', new Error('x'))
    rig.deliver('0:0', 'a', 2)
    await settle()
    await hands.done('0:0')
    rig.deliver('0:1', 'a')
    await settle()
    await hands.fail('0:1', new Error('y'))
    rig.socket.end(1006)
    await rig.reopened()
    rig.deliver('0:2', 'a')
    await settle()
    expect(hands.begun).toEqual(['0:0', '0:0 (2)', '0:1', '0:2'])
  })

  it.each(['exclusive', 'failover'] as const)('sends what comes of its partition back on %s', async (type) => {
    const hands = new Hands()
    const rig = await opened({ type }, hands.handler)
    rig.deliver('0:0', 'a')
    await settle()
    await hands.fail('0:0', new Error('x'))
    rig.deliver('0:1', 'b')
    rig.deliver('1:0', 'b')
    await settle()
    expect(hands.begun).toEqual(['0:0', '1:0'])
    expect((await rig.sent())[1]).toEqual({ type: 'release', ids: ['0:1'] })
  })

  it('concerns nobody on a shared subscription', async () => {
    const hands = new Hands()
    const rig = await opened({ type: 'shared' }, hands.handler)
    rig.deliver('0:0', 'a')
    await settle()
    await hands.fail('0:0', new Error('x'))
    rig.deliver('0:1', 'a')
    await settle()
    expect(hands.begun).toEqual(['0:0', '0:1'])
    expect(await rig.sent()).toEqual([{ type: 'nack', ids: ['0:0'], reason: 'Error: x' }])
  })
})
