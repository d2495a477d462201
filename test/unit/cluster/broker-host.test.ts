import { SUBSCRIPTION_DEFAULTS } from '@tidings/sdk/protocol'
import { describe, expect, it } from 'vitest'
import type { Disk } from '../../../src/base/disk.ts'
import { BrokerHost } from '../../../src/cluster/broker-host.ts'
import { Catalog } from '../../../src/cluster/catalog.ts'
import { MemoryCoordinator } from '../../../src/cluster/memory-coordinator.ts'
import { SimClock } from '../../../src/testing/sim-clock.ts'
import { SimDisk } from '../../../src/testing/sim-disk.ts'
import { SimRandom } from '../../../src/testing/sim-random.ts'
import { environment } from '../../support/storage.ts'

/** Open files of a disk, counted: what is opened must be closed. */
function counting(disk: Disk): { disk: Disk; open: () => number } {
  let count = 0
  return {
    open: () => count,
    disk: {
      ...disk,
      open: async (path, mode) => {
        const file = await disk.open(path, mode)
        count += 1
        let isOpen = true
        return {
          ...file,
          close: async () => {
            if (isOpen) count -= 1
            isOpen = false
            await file.close()
          },
        }
      },
    },
  }
}

async function rig() {
  const disk = new SimDisk({ random: new SimRandom(3) })
  const clock = new SimClock()
  const random = new SimRandom(4)
  const coordinator = new MemoryCoordinator({ clock, random })
  const boot = async (catalogIsNew: boolean, { maxTopics = 1000 } = {}) => {
    const counted = counting(disk.mount())
    const shared = await environment(counted.disk, clock)
    const catalog = new Catalog(coordinator, random)
    const options = {
      catalog,
      catalogIsNew,
      random,
      nodeId: 'n',
      autoCreateTopics: true,
      maxTopics,
      environment: shared,
    }
    const host = new BrokerHost(options)
    await host.open()
    return { host, open: counted.open, poison: shared.poison }
  }
  return { disk, boot, /** The store as another sees it. */ catalog: new Catalog(coordinator, new SimRandom(9)) }
}

describe('the host and the number of topics', () => {
  it('makes as many as may be, those that are being made included, and more when one went', async () => {
    const { boot, disk } = await rig()
    const { host } = await boot(true, { maxTopics: 2 })
    const made = await Promise.allSettled(['a', 'b', 'c', 'd'].map((name) => host.ensureTopic(name)))
    expect(made.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'rejected', 'rejected'])
    const refusal = { code: 'conflict', message: expect.stringContaining('--max-topics') }
    await expect(host.putTopic('c', {})).rejects.toMatchObject(refusal)
    await host.putTopic('a', { maxMessageBytes: 100 })
    await host.deleteTopic('b')
    await host.putTopic('c', {})
    await host.close()
    disk.crash('power')
    // What is there is served, whatever the bound is now.
    const { host: again } = await boot(false, { maxTopics: 1 })
    expect(again.topics().map(({ name }) => name)).toEqual(['a', 'c'])
    await expect(again.putTopic('d', {})).rejects.toMatchObject(refusal)
  })
})

describe('the host on a full disk', () => {
  it('deletes a topic, which is how room is made', async () => {
    const { disk, boot } = await rig()
    const { host, open, poison } = await boot(true)
    const { topic } = await host.putTopic('orders', {})
    await new Promise<void>((resolve, reject) => {
      topic.publish(
        {
          key: null,
          value: Buffer.from('a'),
          contentType: 'text/plain',
          headers: [],
          idempotencyKey: null,
          partition: null,
          ttlMs: null,
          valueChecked: true,
        },
        (error) => (error ? reject(error) : resolve()),
      )
    })
    disk.capacityBytes = disk.usedBytes
    await host.deleteTopic('orders')
    expect(disk.files().filter((path) => path.startsWith('partitions/'))).toEqual([])
    expect(open()).toBe(0)
    expect(poison).toEqual([])
  })

  it('leaves nothing of a topic for which there was no room', async () => {
    const { disk, boot } = await rig()
    const { host, open, poison } = await boot(true)
    for (let room = 0; room < 120_000; room += 3000) {
      const free = disk.capacityBytes
      disk.capacityBytes = disk.usedBytes + room
      await expect(host.putTopic('orders', { partitions: 4 })).rejects.toThrow()
      disk.capacityBytes = free
      expect(disk.files(), `with room for ${room} bytes`).toEqual([])
      expect(open()).toBe(0)
    }
    expect(poison).toEqual([])
  })
})

describe('the host on a disk that refuses once', () => {
  it('opens a topic later that it made and could not open, and leaves no file open', async () => {
    const { disk, boot } = await rig()
    const { host, open } = await boot(true)
    disk.fail({ on: 'list', path: (path) => path.includes('schedule'), code: 'EMFILE' })
    await expect(host.putTopic('orders', {})).rejects.toThrow('EMFILE')
    expect(open()).toBe(0)
    expect((await host.putTopic('orders', {})).topic.name).toBe('orders')
    await host.close()
    expect(open()).toBe(0)
  })
})

describe('the host over a store whose answers get lost', () => {
  it('serves a subscription under the id that the store has', async () => {
    const { boot, catalog, disk } = await rig()
    const { host } = await boot(true)
    const { topic } = await host.putTopic('orders', {})
    // An earlier try of ours happened, and its answer got lost.
    await catalog.createSubscription(topic, 'billing', { id: 'earlier', settings: SUBSCRIPTION_DEFAULTS })
    const { subscription } = await host.putSubscription('orders', 'billing', {})
    expect(subscription.id).toBe('earlier')
    await host.close()
    disk.crash('power')
    const { host: again } = await boot(false)
    expect(again.subscription('orders', 'billing').id).toBe('earlier')
  })

  it('deletes what the store no longer has', async () => {
    const { boot, catalog, disk } = await rig()
    const { host, open } = await boot(true)
    const { topic } = await host.putTopic('orders', {})
    await host.putSubscription('orders', 'billing', {})
    await catalog.deleteSubscription(topic.id, 'billing')
    await host.deleteSubscription('orders', 'billing')
    expect(host.subscriptions('orders')).toEqual([])
    await catalog.deleteTopic('orders')
    await host.deleteTopic('orders')
    expect(host.topics()).toEqual([])
    expect(disk.files()).toEqual([])
    expect(open()).toBe(0)
  })
})
