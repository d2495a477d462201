/**
 * A cluster of three brokers and an etcd, under load by the client over all of them, while brokers are killed, ended one
 * after another, and stand still: nothing is lost, nothing is there twice, what was confirmed stays confirmed, and keys
 * keep their order. How long nobody was served is printed; no time is asserted.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { BrokerCluster } from '../support/broker-cluster.ts'
import { stopAll } from '../support/broker-process.ts'
import { ClusterLoad, type ClusterVerdict } from '../support/cluster-load.ts'
import { machineTime } from '../support/history.ts'

const LEASE_MS = 3000

let cluster: BrokerCluster
let load: ClusterLoad

beforeEach(async () => {
  cluster = await BrokerCluster.start({ flags: ['--lease-ms', String(LEASE_MS)] })
  load = await ClusterLoad.start(cluster)
}, 300_000)

afterEach(async () => {
  await load?.close()
  await cluster?.stop()
  await stopAll()
})

function expectGood(verdict: ClusterVerdict): void {
  expect(verdict).toMatchObject({ anomalies: {}, invalid: [], unanswered: 0, reordered: [] })
}

function tell(what: string, since: number): void {
  console.info(`${what}: ${Math.round(load.longestSilenceMs(since))} ms without an answered publish at most`)
}

describe('a cluster of three brokers', { timeout: 240_000 }, () => {
  it('goes on when its leader is killed, and loses, doubles and forgets nothing', async () => {
    const leader = await cluster.leaderOf(load.topic)
    const since = machineTime()
    load.fault('kill')
    await leader.broker.kill()
    await load.flows()
    expect(await cluster.leaderOf(load.topic)).not.toBe(leader)
    tell('leader killed', since)
    await leader.broker.restart()
    await load.flows()
    expectGood(await load.judge(['kill']))
  })

  it('is restarted broker by broker without a loss, and no message is tried more than once again', async () => {
    const since = machineTime()
    for (const { broker } of cluster.members) {
      load.fault('restart')
      expect((await broker.terminate(30_000)).code).toBe(0)
      await broker.restart()
      await cluster.inSync(load.topic)
      await load.flows()
    }
    tell('rolling restart', since)
    const verdict = await load.judge(['restart'])
    expectGood(verdict)
    expect(verdict.attemptsMax).toBeLessThanOrEqual(2)
  })

  it('has one leader when one stood still for longer than its lease and goes on', async () => {
    const leader = await cluster.leaderOf(load.topic)
    const since = machineTime()
    load.fault('pause')
    cluster.pause(leader)
    await sleep(LEASE_MS + 1000)
    await load.flows()
    load.fault('continue')
    cluster.resume(leader)
    await load.flows()
    tell('leader paused', since)
    expectGood(await load.judge(['pause', 'continue']))
  })

  it('has everything after all of its brokers were killed at once', async () => {
    const since = machineTime()
    load.fault('kill all')
    await Promise.all(cluster.members.map(({ broker }) => broker.kill()))
    await Promise.all(cluster.members.map(({ broker }) => broker.restart()))
    await load.flows()
    tell('all killed', since)
    expectGood(await load.judge(['kill all']))
  })
})
