import { describe, expect, it } from 'vitest'
import { nullLogger } from '../../../src/base/telemetry.ts'
import type { Hosted } from '../../../src/cluster/hosted.ts'
import { forgetRedrives } from '../../../src/cluster/redrive-cursors.ts'
import { CursorStore } from '../../../src/subscription/cursor-store.ts'
import { redriveCursorId } from '../../../src/subscription/redrive.ts'
import { SimClock } from '../../../src/testing/sim-clock.ts'
import { HostRig } from '../../support/host-rig.ts'
import { MemoryPartition } from '../../support/memory-partition.ts'

const everything = { max: 10_000, filter: null, dryRun: false }

describe('the memory of what was redriven', () => {
  it('goes with the subscription, and no other with it', async () => {
    const clock = new SimClock()
    const store = await CursorStore.open(new MemoryPartition(clock), clock, nullLogger)
    for (const id of ['reader', redriveCursorId('gone'), redriveCursorId('there')]) store.cursor(id)
    forgetRedrives([{ cursors: [store] } as unknown as Hosted], (id) => id === 'gone')
    expect([...store.subscriptionIds, ...store.internalIds]).toEqual(['reader', redriveCursorId('there')])
  })

  it('is there after a crash, and is not another subscription’s of the same name', async () => {
    const rig = await HostRig.start()
    await rig.host.putSubscription('orders', 'billing', { start: 'earliest', deadLetter: { maxDeliveries: 1 } })
    await rig.publish('orders', 'a')
    await rig.publish('orders', 'b')
    const dead = rig.host.subscription('orders', 'billing')
    const [delivery] = await dead.pull(10, 0)
    const ids = [delivery!.from, delivery!.from + 1].map((offset) => ({ partition: 0, offset }))
    await new Promise<void>((resolve) => {
      dead.pulled.reject(ids, 'bad', () => resolve())
    })
    expect(await dead.redrive({ ...everything, max: 1 })).toEqual({ moved: 1 })
    await rig.crash('power')
    const after = rig.host.subscription('orders', 'billing')
    expect(await after.redrive({ ...everything, dryRun: true })).toEqual({ moved: 0, matched: 1 })
    await rig.host.deleteSubscription('orders', 'billing')
    await rig.host.putSubscription('orders', 'billing', { start: 'latest', deadLetter: {} })
    const anew = rig.host.subscription('orders', 'billing')
    expect(await anew.redrive({ ...everything, dryRun: true })).toEqual({ moved: 0, matched: 2 })
  })
})
