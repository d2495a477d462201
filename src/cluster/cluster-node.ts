/**
 * One broker's part in a cluster, built once from the ports: its registration, its view of the others, its copies of topics,
 * its links, and who is asked for what. It starts and stops them in order; broker.ts puts it around the host.
 *
 * Stopping: others are told, what is led is given away, then clients are ended (by whoever owns the edge), then
 * the copies are closed and the registration ends, so that nobody waits for it to run out.
 */
import type { Clock, Random } from '../base/clock.ts'
import type { Latch } from '../base/latch.ts'
import type { Logger } from '../base/telemetry.ts'
import type { Copies } from '../partition/topic-settings.ts'
import type { BrokerHost } from './broker-host.ts'
import type { Catalog } from './catalog.ts'
import { ClusterRouting } from './cluster-routing.ts'
import { ClusterView } from './cluster-view.ts'
import { Controller } from './controller.ts'
import type { Coordinator, Guard } from './coordinator.ts'
import { Elector } from './elector.ts'
import { LeadershipStore } from './leadership-store.ts'
import { PeerHub } from './peer-hub.ts'
import { PeerLinks } from './peer-links.ts'
import type { PeerNetwork } from './peer-network.ts'
import { type Hello, PEER_PROTOCOL } from './peer-protocol.ts'
import { Registration } from './registration.ts'
import { ReplicaHost } from './replica-host.ts'

export interface ClusterOptions {
  nodeId: string
  /** Where clients reach this broker. */
  advertise: string
  rack: string | null
  version: string
  /** How long this broker counts as alive after its last sign of life. */
  leaseMs: number
  /** A follower that has not had everything for so long does not count as in sync. */
  replicaLagMs: number
  copies: Copies
  /** Where other brokers reach this one, from where it listens for them. */
  peerAddressOf(listening: string): string
}

export interface ClusterPorts {
  coordinator: Coordinator
  catalog: Catalog
  network: PeerNetwork
  clock: Clock
  random: Random
  latch: Latch
  logger: Logger
}

export class ClusterNode {
  readonly routing: ClusterRouting
  readonly view: ClusterView
  readonly replicas: ReplicaHost
  readonly #registration: Registration
  readonly #ports: ClusterPorts
  readonly #options: ClusterOptions
  readonly #hub: PeerHub
  readonly #links: PeerLinks
  readonly #elector: Elector
  readonly #store: LeadershipStore
  readonly #controller: Controller

  /** @param host made with this node's seat (`replicas`), and so after it */
  constructor(ports: ClusterPorts, options: ClusterOptions, host: () => BrokerHost) {
    this.#ports = ports
    this.#options = options
    const { coordinator, catalog, network, clock, random, latch, logger } = ports
    const { nodeId } = options
    const { oldest, newest } = PEER_PROTOCOL
    this.view = new ClusterView({ coordinator, clock, logger })
    const store = new LeadershipStore(coordinator, clock)
    this.#store = store
    this.#registration = new Registration({
      coordinator,
      clock,
      random,
      logger,
      ttlMs: options.leaseMs,
      broker: {
        nodeId,
        url: options.advertise,
        // Known when it listens.
        peerAddress: '',
        rack: options.rack,
        version: options.version,
        protocol: [oldest, newest],
        draining: false,
        startedAt: Math.floor(clock.now()),
      },
    })
    const registration = this.#registration
    const { view } = this
    this.#links = new PeerLinks({ network, clock, random, logger })
    this.replicas = new ReplicaHost({
      registration,
      view,
      store,
      catalog,
      links: this.#links,
      host,
      clock,
      random,
      latch,
      logger,
      replicaLagMs: options.replicaLagMs,
      copies: options.copies,
    })
    const { replicas } = this
    this.#hub = new PeerHub({ network, logger, feedOf: (topicId) => replicas.feedOf(topicId) })
    this.#elector = new Elector({
      view,
      store,
      registration,
      clock,
      random,
      logger,
      durabilityOf: (topicId) => replicas.durabilityOf(topicId),
      mayLead: (topicId) => replicas.mayLead(topicId),
    })
    replicas.onServed(() => this.#elector.look())
    this.#controller = new Controller({ coordinator, view, store, registration, clock, random, logger })
    this.routing = new ClusterRouting({
      nodeId,
      view,
      clock,
      isServed: (topicId) => replicas.isServed(topicId),
      onServed: (listener) => replicas.onServed(listener),
      founderOf: (topic) => replicas.founderOf(topic),
    })
  }

  /** What this broker says to others first. */
  get hello(): Hello {
    const { nodeId, brokerEpoch } = this.#registration
    return { nodeId, brokerEpoch: brokerEpoch ?? 0, ...PEER_PROTOCOL }
  }

  /** For changes of the catalog: what holds while this broker leads the topic. */
  guards(topicId: string): Promise<readonly Guard[]> {
    return this.#store.guardsOf(topicId, this.#registration)
  }

  /** Resolves when this broker is one of the cluster, however long the store takes to answer. */
  async start(): Promise<void> {
    const peerAddress = this.#options.peerAddressOf(await this.#hub.listen())
    await this.#registration.announce({ peerAddress })
    await this.#registration.start()
    await this.view.start()
    this.replicas.start()
    this.#elector.start()
    this.#controller.start()
    const { logger } = this.#ports
    logger.info({ node: this.#options.nodeId, peerAddress, brokers: this.view.brokers.size }, 'joined the cluster')
  }

  /** Gives away what is led here. */
  async drain(): Promise<void> {
    this.#elector.stop()
    await this.#controller.stop()
    await this.#registration.announce({ draining: true }).catch(() => undefined)
    await this.replicas.drain()
  }

  async stop(): Promise<void> {
    await this.replicas.close()
    this.#links.close()
    await this.#hub.close()
    this.view.stop()
    await this.#registration.stop()
  }
}
