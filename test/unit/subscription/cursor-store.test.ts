import { TidingsError } from '@tidings/sdk/protocol'
import { describe, expect, it } from 'vitest'
import { type Logger, nullLogger } from '../../../src/base/telemetry.ts'
import type { AckLedger } from '../../../src/subscription/ack-ledger.ts'
import type { Cursor } from '../../../src/subscription/cursor.ts'
import { CursorStore } from '../../../src/subscription/cursor-store.ts'
import { SimClock } from '../../../src/testing/sim-clock.ts'
import { noLeader } from '../../support/held-quorum.ts'
import { MemoryPartition } from '../../support/memory-partition.ts'
import { settle } from '../../support/settle.ts'

const policy = { ordered: false, backoff: { minMs: 500, maxMs: 60_000 }, maxDeliveries: null }
const holder = { outstanding: 0 }

interface Rig {
  clock: SimClock
  partition: MemoryPartition
  store: CursorStore
  cursor: Cursor
  ledger: AckLedger
}

/** A partition with 100 messages and one subscription at its start. */
async function rig(): Promise<Rig> {
  const clock = new SimClock()
  const partition = new MemoryPartition(clock)
  partition.publish(100)
  const store = await CursorStore.open(partition, clock, nullLogger)
  await store.create('one', 0)
  const cursor = store.cursor('one')
  const ledger = cursor.ledger(policy)
  partition.cursorQueue.isAutomatic = false
  return { clock, partition, store, cursor, ledger }
}

/** Leases and hands over without waiting for the record. */
function lease({ ledger }: Rig, from: number, to: number): void {
  ledger.lease(holder, from, to)
  ledger.handOver(holder, from, to, 1e9, holder)
}

async function reopened(
  from: MemoryPartition,
  how: 'kill' | 'power',
  logger: Logger = nullLogger,
): Promise<CursorStore> {
  const clock = new SimClock({ monotonicMs: 5 })
  return CursorStore.open(from.crashed(clock, how), clock, logger)
}

describe('the cursor store', () => {
  it('makes the start of a subscription durable before creation resolves', async () => {
    const clock = new SimClock()
    const partition = new MemoryPartition(clock)
    partition.cursorQueue.isAutomatic = false
    const store = await CursorStore.open(partition, clock, nullLogger)
    const events: string[] = []
    const created = store.create('one', 7).then(() => events.push('created'))
    await settle()
    partition.cursorQueue.write()
    await settle()
    expect(events).toEqual([])
    partition.cursorQueue.sync()
    await created
    partition.publish(10)
    const again = await reopened(partition, 'power')
    expect(again.cursor('one').state()).toEqual({ next: 7, runs: [] })
  })

  it('leaves nothing of a subscription whose start could not be written', async () => {
    const { partition, store } = await rig()
    const created = store.create('two', 7)
    partition.cursorQueue.fail(true)
    await expect(created).rejects.toMatchObject({ code: 'storage_full' })
    expect(store.subscriptionIds).toEqual(['one'])
  })

  it('writes one record for all acknowledgements that arrive before a group is built', async () => {
    const r = await rig()
    lease(r, 0, 50)
    for (let offset = 0; offset < 40; offset++) {
      r.ledger.ack(holder, offset, offset + 1)
      r.cursor.touch('lazy')
    }
    expect(r.partition.cursorQueue.queued).toEqual(['lazy'])
    const before = r.partition.cursorQueue.nextOffset
    r.partition.cursorQueue.write()
    expect(r.partition.cursorQueue.nextOffset).toBe(before + 1)
    const again = await reopened(r.partition, 'kill')
    const runs = [{ from: 40, to: 50, attempts: 1, failed: false, notBefore: 0 }]
    expect(again.cursor('one').state()).toEqual({ next: 50, runs })
  })

  it('confirms only after the sync that covers the acknowledgement', async () => {
    const r = await rig()
    lease(r, 0, 5)
    r.ledger.ack(holder, 0, 5)
    r.cursor.touch('lazy')
    const answers: (TidingsError | null)[] = []
    r.cursor.confirm((error) => answers.push(error))
    expect(answers).toEqual([])
    r.partition.cursorQueue.write()
    expect(answers).toEqual([])
    expect(r.store.ackedThrough).toBe(0)
    r.partition.cursorQueue.sync()
    expect(answers).toEqual([null])
    expect(r.store.ackedThrough).toBe(5)
  })

  it('confirms what an earlier lazy record already carries only once that is synced', async () => {
    const r = await rig()
    lease(r, 0, 5)
    r.ledger.ack(holder, 0, 5)
    r.cursor.touch('lazy')
    r.partition.cursorQueue.write()
    const answers: (TidingsError | null)[] = []
    r.cursor.confirm((error) => answers.push(error))
    await settle()
    expect(answers).toEqual([])
    r.partition.cursorQueue.write()
    r.partition.cursorQueue.sync()
    expect(answers).toEqual([null])
  })

  it('confirms what is durable already, but not within the call', async () => {
    const { cursor } = await rig()
    const answers: (TidingsError | null)[] = []
    cursor.confirm((error) => answers.push(error))
    expect(answers).toEqual([])
    await settle()
    expect(answers).toEqual([null])
  })

  it('refuses confirmations without bound', async () => {
    const { cursor, ledger } = await rig()
    ledger.skip(0, 1)
    cursor.touch('lazy')
    const codes = new Set<string>()
    for (let i = 0; i < 65_600; i++) cursor.confirm((error) => codes.add(error?.code ?? 'none'))
    await settle()
    expect([...codes]).toEqual(['overloaded'])
  })

  it('hands over when the lease is written, and a redelivery when it is synced', async () => {
    const r = await rig()
    const events: string[] = []
    r.ledger.lease(holder, 0, 1)
    r.cursor.stage((isWritten) => events.push(`first ${isWritten}`), false)
    r.partition.cursorQueue.write()
    expect(events).toEqual(['first true'])
    r.ledger.lease(holder, 1, 2)
    r.cursor.stage((isWritten) => events.push(`again ${isWritten}`), true)
    r.cursor.stage((isWritten) => events.push(`after it ${isWritten}`), false)
    r.partition.cursorQueue.write()
    expect(events).toHaveLength(1)
    r.partition.cursorQueue.sync()
    expect(events).toEqual(['first true', 'again true', 'after it true'])
  })

  it.each([true, false])(
    'tells everybody when the disk is full (entry taken: %s), and writes a whole state later',
    async (isTaken) => {
      const r = await rig()
      const events: string[] = []
      r.cursor.owner = {
        reader: { subscription: 'billing' },
        refused: (error) => events.push(`refused ${error.code}`),
        resumed: () => events.push('resumed'),
        touched: () => undefined,
      }
      lease(r, 0, 5)
      r.ledger.ack(holder, 1, 3)
      r.cursor.touch('lazy')
      r.cursor.stage((isWritten) => events.push(`handed over ${isWritten}`), false)
      r.cursor.confirm((error) => events.push(`confirm ${error?.code}`))
      r.partition.cursorQueue.fail(isTaken)
      await settle()
      expect(new Set(events)).toEqual(new Set(['handed over false', 'refused storage_full', 'confirm storage_full']))
      expect(r.store.stalled).toMatchObject({ code: 'storage_full' })
      // Not before the pause is over, since nobody waits.
      r.ledger.ack(holder, 3, 4)
      r.cursor.touch('lazy')
      expect(r.partition.cursorQueue.queued).toEqual([])
      r.clock.advance(250)
      expect(r.partition.cursorQueue.queued).toHaveLength(1)
      r.partition.cursorQueue.write()
      expect(events.at(-1)).toBe('resumed')
      expect(r.store.stalled).toBeNull()
      const again = await reopened(r.partition, 'kill')
      expect(again.cursor('one').state()).toEqual(r.ledger.state())
    },
  )

  it('confirms nothing when leadership is lost before the sync, and hands nothing over twice', async () => {
    const r = await rig()
    const events: string[] = []
    r.ledger.lease(holder, 0, 1)
    r.cursor.stage((isWritten) => events.push(`handed over ${isWritten}`), false)
    r.cursor.confirm((error) => events.push(`confirm ${error?.code}`))
    r.partition.cursorQueue.write()
    r.partition.cursorQueue.abandon(noLeader())
    await settle()
    expect(events).toEqual(['handed over true', 'confirm no_leader'])
  })

  it('tries at once, while the disk is full, for somebody who waits for the answer', async () => {
    const r = await rig()
    r.partition.cursorQueue.refusal = new TidingsError('storage_full', 'full')
    lease(r, 0, 5)
    r.cursor.touch('written')
    expect(r.store.stalled).not.toBeNull()
    r.partition.cursorQueue.refusal = null
    const answers: (TidingsError | null)[] = []
    r.cursor.confirm((error) => answers.push(error))
    r.partition.cursorQueue.write()
    r.partition.cursorQueue.sync()
    expect(answers).toEqual([null])
    expect(r.store.stalled).toBeNull()
  })

  it('carries everything in the most urgent entry', async () => {
    const r = await rig()
    lease(r, 0, 5)
    r.cursor.touch('lazy')
    r.cursor.touch('written')
    r.cursor.touch('durable')
    r.cursor.touch('durable')
    expect(r.partition.cursorQueue.queued).toEqual(['lazy', 'written', 'durable'])
    const before = r.partition.cursorQueue.urgencies.length
    r.partition.cursorQueue.write()
    expect(r.partition.cursorQueue.urgencies.slice(before)).toEqual(['durable'])
  })

  it('writes a state that is longer than an entry usually is', async () => {
    const r = await rig()
    lease(r, 0, 200_000)
    for (let offset = 0; offset < 200_000; offset += 2) r.ledger.ack(holder, offset, offset + 1)
    expect(r.ledger.changes.whole).toBe(true)
    r.cursor.touch('lazy')
    for (let turn = 0; turn < 3; turn++) {
      r.partition.cursorQueue.write()
      await settle()
    }
    expect(r.cursor.dirty).toBe(false)
    r.partition.publish(200_000)
    const again = await reopened(r.partition, 'kill')
    expect(again.cursor('one').state().runs).toHaveLength(100_000)
  })

  it('keeps attempts and delays over a restart, on another clock', async () => {
    const r = await rig()
    lease(r, 0, 3)
    r.ledger.nack(holder, 1, 2, r.clock.monotonic(), 4000)
    r.cursor.touch('lazy')
    r.partition.cursorQueue.write()
    const again = await reopened(r.partition, 'kill')
    const { runs } = again.cursor('one').state()
    expect(runs).toEqual([
      { from: 0, to: 1, attempts: 1, failed: false, notBefore: 0 },
      { from: 1, to: 2, attempts: 1, failed: true, notBefore: 4005 },
      { from: 2, to: 3, attempts: 1, failed: false, notBefore: 0 },
    ])
  })

  it('sets a cursor back, durably, where the log has lost messages it counts as acknowledged', async () => {
    const r = await rig()
    r.partition.publish(20)
    lease(r, 0, 120)
    r.ledger.ack(holder, 0, 120)
    r.cursor.touch('lazy')
    await r.partition.cursorQueue.flush()
    const clock = new SimClock()
    const cut = r.partition.crashed(clock, 'power')
    cut.cutTo(100)
    const store = await CursorStore.open(cut, clock, nullLogger)
    expect(store.cursor('one').state()).toEqual({ next: 100, runs: [] })
    cut.publish(50)
    const again = await reopened(cut, 'power')
    expect(again.cursor('one').state()).toEqual({ next: 100, runs: [] })
  })

  it('forgets a deleted subscription, also after a restart', async () => {
    const r = await rig()
    r.store.delete('one')
    r.store.delete('one')
    r.cursor.touch('durable')
    r.partition.cursorQueue.write()
    expect(r.store.subscriptionIds).toEqual([])
    const again = await reopened(r.partition, 'kill')
    expect(again.subscriptionIds).toEqual([])
    expect(again.cursor('one').state()).toEqual({ next: 0, runs: [] })
  })

  it('knows how far all subscriptions have durably acknowledged', async () => {
    const r = await rig()
    expect((await CursorStore.open(new MemoryPartition(r.clock), r.clock, nullLogger)).ackedThrough).toBe(0)
    const created = r.store.create('two', 45)
    await settle()
    await r.partition.cursorQueue.flush()
    await created
    lease(r, 0, 60)
    r.ledger.ack(holder, 0, 40)
    r.cursor.touch('lazy')
    r.partition.cursorQueue.write()
    expect(r.store.ackedThrough).toBe(0)
    r.ledger.ack(holder, 40, 60)
    r.cursor.touch('lazy')
    r.partition.cursorQueue.sync()
    expect(r.store.ackedThrough).toBe(40)
    await r.partition.cursorQueue.flush()
    expect(r.store.ackedThrough).toBe(45)
  })

  it('writes all states anew when the log has grown, and drops the old records when they are synced', async () => {
    const r = await rig()
    const created = r.store.create('two', 30)
    await settle()
    await r.partition.cursorQueue.flush()
    await created
    r.partition.cursorLogBytes = 9 * 1_048_576
    lease(r, 0, 10)
    r.cursor.touch('lazy')
    await r.partition.cursorQueue.flush()
    const before = r.partition.cursorQueue.nextOffset
    expect(r.partition.cursorQueue.queued).toEqual(['lazy'])
    r.partition.cursorQueue.write()
    expect(r.partition.cursorQueue.nextOffset).toBe(before + 2)
    expect(r.partition.trims).toEqual([])
    r.partition.cursorQueue.sync()
    expect(r.partition.trims).toEqual([before])
    expect(r.partition.cursorQueue.queued).toEqual([])
    const again = await reopened(r.partition, 'power')
    expect(again.cursor('one').state()).toEqual(r.ledger.state())
    expect(again.cursor('two').state()).toEqual({ next: 30, runs: [] })
    // The bytes did not shrink here; that alone must not begin it all over again.
    await settle()
    r.ledger.ack(holder, 0, 1)
    r.cursor.touch('lazy')
    await r.partition.cursorQueue.flush()
    expect(r.partition.cursorQueue.queued).toEqual([])
  })

  it('ends a compaction only with the states that were written for it', async () => {
    const r = await rig()
    lease(r, 0, 10)
    r.cursor.touch('lazy')
    r.cursor.confirm(() => {
      // Written before the round begins, synced while it is under way.
      r.ledger.seek(50)
      r.cursor.touch('lazy')
      r.partition.cursorQueue.write()
      r.partition.cursorLogBytes = 9 * 1_048_576
    })
    await r.partition.cursorQueue.flush()
    const before = r.partition.cursorQueue.nextOffset
    r.partition.cursorQueue.sync()
    expect(r.partition.trims).toEqual([])
    await r.partition.cursorQueue.flush()
    expect(r.partition.trims).toEqual([before])
    const again = await reopened(r.partition, 'power')
    expect(again.cursor('one').state()).toEqual({ next: 50, runs: [] })
  })
})
