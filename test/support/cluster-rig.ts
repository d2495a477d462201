/**
 * A cluster of brokers in one process: each with a simulated disk and lives that end in crashes, on one simulated
 * network, one clock that the test drives, and one coordinator's store. No edge: the test asks the broker that leads.
 */
import { recordEnd, recordValueAt, TidingsError } from '@tidings/sdk/protocol'
import { Latch } from '../../src/base/latch.ts'
import { latchedDisk } from '../../src/base/latched-disk.ts'
import { SpaceGuard } from '../../src/base/space-guard.ts'
import { type Logger, nullLogger, nullMetrics } from '../../src/base/telemetry.ts'
import { BrokerHost } from '../../src/cluster/broker-host.ts'
import { Catalog } from '../../src/cluster/catalog.ts'
import { ClusterNode } from '../../src/cluster/cluster-node.ts'
import { MemoryCoordinator } from '../../src/cluster/memory-coordinator.ts'
import { CacheBudget } from '../../src/log/batch-cache.ts'
import { OpenSegments } from '../../src/log/open-segments.ts'
import { RememberedBudget } from '../../src/partition/remembered-budget.ts'
import { isScheduled, type PublishOutcome } from '../../src/partition/topic.ts'
import { SimClock } from '../../src/testing/sim-clock.ts'
import { SimDisk } from '../../src/testing/sim-disk.ts'
import { type SimBroker, SimNetwork } from '../../src/testing/sim-network.ts'
import { SimRandom } from '../../src/testing/sim-random.ts'
import { FaultyCoordinator } from './faulty-coordinator.ts'
import { settle } from './settle.ts'

export const LEASE_MS = 5000
export const REPLICA_LAG_MS = 3000

/** RIG_LOG=1 shows what the brokers log. */
const SHOWS_LOG = process.env['RIG_LOG'] !== undefined

function showingLogger(node: string, clock: SimClock): Logger {
  const show =
    (level: string) =>
    (about: object, text: string): void => {
      const { err, ...rest } = about as { err?: Error }
      process.stderr.write(
        `${clock.monotonic()} ${node} ${level} ${text} ${JSON.stringify(rest)} ${err?.stack ?? ''}\n`,
      )
    }
  return { debug: show('debug'), info: show('info'), warn: show('warn'), error: show('error') }
}

/** From a boot to a crash, or an orderly end. */
export interface Life {
  host: BrokerHost
  node: ClusterNode
  coordinator: FaultyCoordinator
  network: SimBroker
  clock: ReturnType<SimClock['process']>
  /** What tripped the latch. */
  failure: Error | null
}

export interface PublishOptions {
  key?: string
  idempotencyKey?: string
  partition?: number
  deliverAt?: number
}

export class ClusterRig {
  readonly clock = new SimClock({ soon: 'driven' })
  readonly network: SimNetwork
  readonly store: MemoryCoordinator
  readonly nodes: readonly string[]
  readonly #random: SimRandom
  readonly #disks = new Map<string, SimDisk>()
  readonly #lives = new Map<string, Life>()
  #boots = 0

  constructor(count: number, seed = 1) {
    this.#random = new SimRandom(seed)
    this.nodes = Array.from({ length: count }, (_, i) => `node-${i + 1}`)
    this.network = new SimNetwork({ clock: this.clock, random: this.#random.split('network') })
    this.store = new MemoryCoordinator({ clock: this.clock, random: this.#random.split('store') })
    for (const node of this.nodes) this.#disks.set(node, new SimDisk({ random: this.#random.split(`disk ${node}`) }))
  }

  static async start(count: number, seed = 1): Promise<ClusterRig> {
    const rig = new ClusterRig(count, seed)
    for (const node of rig.nodes) await rig.boot(node)
    await rig.until(() => rig.nodes.every((node) => rig.life(node).host.notReady() === null))
    return rig
  }

  /** The life that the broker has now. */
  life(node: string): Life {
    const life = this.#lives.get(node)
    if (!life) throw new Error(`${node} is down`)
    return life
  }

  isUp(node: string): boolean {
    return this.#lives.has(node)
  }

  async boot(nodeId: string): Promise<Life> {
    this.#boots += 1
    const clock = this.clock.process()
    const random = this.#random.split(`boot ${this.#boots}`)
    const coordinator = new FaultyCoordinator(this.store)
    const latch = new Latch((cause) => {
      life.failure = cause instanceof Error ? cause : new Error(String(cause))
    })
    const disk = latchedDisk(this.#disks.get(nodeId)!.mount(), latch)
    const network = this.network.join(() => ({ nodeId, brokerEpoch: 0, oldest: 1, newest: 1 }))
    const logger = SHOWS_LOG ? showingLogger(nodeId, this.clock) : nullLogger
    const shared = { clock, random, latch, logger }
    const catalog: Catalog = new Catalog(coordinator, random, { guards: (topicId) => node.guards(topicId) })
    const node: ClusterNode = new ClusterNode(
      { ...shared, coordinator, catalog, network },
      {
        nodeId,
        advertise: `http://${nodeId}`,
        rack: null,
        version: '0.0.0-test',
        leaseMs: LEASE_MS,
        replicaLagMs: REPLICA_LAG_MS,
        copies: { replicationFactor: 3, minInSyncReplicas: 2 },
        peerAddressOf: (listening) => listening,
      },
      () => life.host,
    )
    const life: Life = { host: undefined as never, node, coordinator, network, clock, failure: null }
    this.#lives.set(nodeId, life)
    const space = await SpaceGuard.start(disk, clock, 4096, () => undefined)
    life.host = new BrokerHost({
      catalog,
      catalogIsNew: false,
      seat: node.replicas,
      random,
      nodeId,
      autoCreateTopics: true,
      maxTopics: 1000,
      environment: {
        disk,
        clock,
        latch,
        logger,
        metrics: nullMetrics,
        space,
        cacheBudget: new CacheBudget(65_536),
        rememberedBudget: new RememberedBudget(1_048_576),
        openSegments: new OpenSegments(4, (error) => latch.trip(error)),
        maxQueuedBytes: 8 * 1_048_576,
      },
    })
    await life.host.open()
    node.start().catch((error: unknown) => {
      if (this.#lives.get(nodeId) === life) life.failure = error as Error
    })
    return life
  }

  /** `process`: as by kill -9; `power`: what was not synced is gone too. The others notice by silence. */
  async crash(nodeId: string, kind: 'process' | 'power' = 'process'): Promise<void> {
    const life = this.life(nodeId)
    this.#lives.delete(nodeId)
    life.clock.kill()
    life.coordinator.isCut = true
    life.network.leave(kind === 'process' ? 'closed' : 'silent')
    this.#disks.get(nodeId)!.crash(kind)
    await settle()
  }

  /** As by SIGTERM. */
  async stop(nodeId: string): Promise<void> {
    const { node, host } = this.life(nodeId)
    const stop = async (): Promise<void> => {
      await node.drain()
      host.drain()
      await node.stop()
      await host.close()
    }
    await this.during(stop())
    await this.crash(nodeId)
  }

  disk(nodeId: string): SimDisk {
    return this.#disks.get(nodeId)!
  }

  /** Lets so much time pass, with all that happens in it. */
  async run(ms: number): Promise<void> {
    const end = this.clock.monotonic() + ms
    for (;;) {
      await settle()
      const due = this.clock.nextDue()
      if (due === undefined || due > end) break
      this.clock.runNext()
    }
    this.clock.advanceTo(end)
    await settle()
  }

  /** Lets time pass until it is so; throws after a minute. */
  async until(isSo: () => boolean, limitMs = 60_000): Promise<void> {
    const end = this.clock.monotonic() + limitMs
    for (;;) {
      await settle()
      if (isSo()) return
      const due = this.clock.nextDue()
      for (const [name, { failure }] of this.#lives) {
        if (failure) throw new Error(`${name} failed: ${failure.stack}`, { cause: failure })
      }
      if (due === undefined || due > end) throw new Error(`not so within ${limitMs} ms: ${isSo.toString()}`)
      this.clock.runNext()
    }
  }

  /** Lets time pass until the task has ended. */
  async during<T>(task: Promise<T>, limitMs = 60_000): Promise<T> {
    let isOver = false
    const ended = task.finally(() => {
      isOver = true
    })
    ended.catch(() => undefined)
    await this.until(() => isOver, limitMs)
    return ended
  }

  /** The broker that serves the topic, or null. */
  leaderOf(topic: string): string | null {
    for (const [node, { node: cluster, host }] of this.#lives) {
      const route = host ? cluster.routing.known(topic) : null
      if (route?.isHere) return node
    }
    return null
  }

  async leader(topic: string): Promise<Life> {
    await this.until(() => this.leaderOf(topic) !== null)
    return this.life(this.leaderOf(topic)!)
  }

  /** Makes a topic at the broker that should found it. */
  async make(topic: string, settings: object = {}): Promise<string> {
    const founder = this.life(this.nodes.find((node) => this.isUp(node))!).node.replicas.founderOf(topic)
    await this.during(this.life(founder).host.putTopic(topic, settings))
    return founder
  }

  /** One publish at whoever leads now. */
  async publish(topic: string, text: string, options: PublishOptions = {}): Promise<PublishOutcome> {
    const { host } = await this.leader(topic)
    const bytes = (value: string | undefined): Uint8Array | null => (value === undefined ? null : Buffer.from(value))
    const outcome = new Promise<PublishOutcome>((resolve, reject) => {
      const input = {
        partition: options.partition ?? null,
        key: bytes(options.key),
        value: Buffer.from(text),
        contentType: 'text/plain',
        headers: [],
        idempotencyKey: bytes(options.idempotencyKey),
        deliverAt: options.deliverAt ?? null,
        ttlMs: null,
        valueChecked: true,
      }
      host.topic(topic).publish(input as never, (error, done) => (error ? reject(error) : resolve(done!)))
    })
    return this.during(outcome)
  }

  /** The same, until it is stored: what is refused or unknown is tried again under its key. */
  async store_(topic: string, text: string): Promise<number> {
    for (;;) {
      try {
        const outcome = await this.publish(topic, text, { idempotencyKey: text })
        if (!isScheduled(outcome)) return outcome.offset
        throw new Error('it was scheduled')
      } catch (error) {
        if (!TidingsError.is(error) || !error.retryable) throw error
        await this.run(100)
      }
    }
  }

  /** All values of a partition as its leader has them. */
  async values(topic: string, number = 0): Promise<string[]> {
    const { host } = await this.leader(topic)
    const partition = host.topic(topic).partitions[number]!
    const values: string[] = []
    for (let offset = partition.startOffset; offset < partition.highWatermark; ) {
      const batches = await this.during(partition.load(offset))
      for (const batch of batches) {
        for (let at = Math.max(offset, batch.baseOffset); at < batch.nextOffset; at++) {
          const position = batch.positionOf(at)
          const end = recordEnd(batch.bytes, position, batch.bytes.length)
          values.push(batch.bytes.toString('utf8', recordValueAt(batch.bytes, position), end))
        }
        offset = batch.nextOffset
      }
    }
    return values
  }
}
