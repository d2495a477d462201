/**
 * The composition root: builds every part of one broker once, from ports handed in, starts them in
 * order and stops them in the reverse. The process (main.ts) hands in the real ports, tests others.
 */
import type { Clock, Random } from './base/clock.ts'
import type { Disk } from './base/disk.ts'
import type { Latch } from './base/latch.ts'
import { latchedDisk } from './base/latched-disk.ts'
import { SpaceGuard } from './base/space-guard.ts'
import type { Logger } from './base/telemetry.ts'
import { BrokerHost } from './cluster/broker-host.ts'
import { Catalog } from './cluster/catalog.ts'
import { ClusterNode, type ClusterOptions } from './cluster/cluster-node.ts'
import type { Coordinator } from './cluster/coordinator.ts'
import type { PeerNetwork } from './cluster/peer-network.ts'
import type { Hello } from './cluster/peer-protocol.ts'
import type { Routing } from './cluster/routing.ts'
import type { Seat } from './cluster/seat.ts'
import { CacheBudget } from './log/batch-cache.ts'
import { OpenSegments } from './log/open-segments.ts'
import { RememberedBudget } from './partition/remembered-budget.ts'
import { Server, type ServerOptions } from './server/app.ts'
import type { ServerMetrics } from './server/metrics.ts'

export interface BrokerPorts {
  disk: Disk
  clock: Clock
  random: Random
  logger: Logger
  metrics: ServerMetrics
  /** Trips when nothing may be acknowledged any more; whoever made it ends the process. */
  latch: Latch
  coordinator: Coordinator
  /** How other brokers are reached: then this one is a node of a cluster, whose store the coordinator is. */
  network?: (hello: () => Hello) => PeerNetwork
  /** Who answers for which topic, where no cluster says so. */
  routing?: Routing
  /** The coordinator's store was made just now. */
  coordinatorIsNew: boolean
  /** Resolves when the coordinator can be asked, which may take until somebody repairs it; at once without. */
  coordinatorReady?: () => Promise<void>
}

export interface BrokerOptions extends ServerOptions {
  version: string
  nodeId: string
  autoCreateTopics: boolean
  /** Topics at once: each costs files, handles and memory. */
  maxTopics: number
  /** Bytes that may wait for one partition's disk. */
  maxQueuedBytes: number
  /** Memory for batches that were published or read lately, all partitions together. */
  tailCacheBytes: number
  /** Memory for what must not be stored twice, all topics together. */
  rememberedBytes: number
  /** Disk space that publishes leave free. */
  reserveBytes: number
  /** Of a node of a cluster. */
  cluster?: Omit<ClusterOptions, 'nodeId' | 'version'>
}

/** Sealed segments open for reading at once. */
const OPEN_SEGMENTS = 256

export class Broker {
  readonly host: BrokerHost
  readonly server: Server
  readonly #ports: BrokerPorts
  readonly #space: SpaceGuard
  readonly #node: ClusterNode | null

  private constructor(ports: BrokerPorts, options: BrokerOptions, space: SpaceGuard) {
    const { clock, logger, metrics } = ports
    this.#ports = ports
    this.#space = space
    this.#node = null
    if (ports.network && options.cluster) {
      const { host, node } = createClusteredHost(ports, options, ports.network, options.cluster, space)
      this.host = host
      this.#node = node
    } else {
      this.host = createHost(ports, options, space)
    }
    this.server = new Server({
      host: this.host,
      routing: this.#node?.routing ?? ports.routing ?? null,
      clock,
      logger,
      metrics,
      options,
      version: options.version,
    })
  }

  /** A broker that serves nothing yet. */
  static async create(ports: BrokerPorts, options: BrokerOptions): Promise<Broker> {
    const space = await SpaceGuard.start(ports.disk, ports.clock, options.reserveBytes, (error) =>
      ports.logger.error({ error: String(error) }, 'the disk does not say how much room it has'),
    )
    return new Broker(ports, options, space)
  }

  /**
   * Listens (answering 503 while it recovers), then recovers what the disk holds. Rejects when the port
   * cannot be had, or with CorruptionError when durable data is damaged.
   */
  async start(): Promise<{ url: string }> {
    const address = await this.server.listen()
    await this.#ports.coordinatorReady?.()
    await this.host.open()
    await this.#node?.start()
    return address
  }

  /** Stops taking work, finishes what is in flight, tells consumers to reconnect, closes the files. */
  async stop(): Promise<void> {
    await this.#node?.drain()
    this.host.drain()
    await this.server.drain()
    await this.#node?.stop()
    await this.host.close()
    this.#space.stop()
    await this.#ports.coordinator.close()
    this.#ports.metrics.close()
  }
}

/** A host that sits in a cluster, and the node that it is a part of: each needs the other. */
function createClusteredHost(
  ports: BrokerPorts,
  options: BrokerOptions,
  networkOf: (hello: () => Hello) => PeerNetwork,
  cluster: Omit<ClusterOptions, 'nodeId' | 'version'>,
  space: SpaceGuard,
): { host: BrokerHost; node: ClusterNode } {
  const { nodeId, version } = options
  const catalog: Catalog = new Catalog(ports.coordinator, ports.random, { guards: (topicId) => node.guards(topicId) })
  const network = networkOf(() => node.hello)
  const node: ClusterNode = new ClusterNode({ ...ports, network, catalog }, { ...cluster, nodeId, version }, () => host)
  const host: BrokerHost = createHost(ports, options, space, { catalog, seat: node.replicas })
  return { host, node }
}

/** What the broker hosts, over its ports; it opens nothing yet. */
export function createHost(
  ports: BrokerPorts,
  options: BrokerOptions,
  space: SpaceGuard,
  clustered?: { catalog: Catalog; seat: Seat },
): BrokerHost {
  const { clock, random, logger, metrics, latch } = ports
  return new BrokerHost({
    catalog: clustered?.catalog ?? new Catalog(ports.coordinator, random),
    ...(clustered && { seat: clustered.seat }),
    catalogIsNew: ports.coordinatorIsNew,
    random,
    nodeId: options.nodeId,
    autoCreateTopics: options.autoCreateTopics,
    maxTopics: options.maxTopics,
    environment: {
      disk: latchedDisk(ports.disk, latch),
      clock,
      latch,
      logger,
      metrics,
      space,
      cacheBudget: new CacheBudget(options.tailCacheBytes),
      rememberedBudget: new RememberedBudget(options.rememberedBytes),
      openSegments: new OpenSegments(OPEN_SEGMENTS, (error) => latch.trip(error)),
      maxQueuedBytes: options.maxQueuedBytes,
    },
  })
}
