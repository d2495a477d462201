/**
 * Brokers that copy one topic, with logs in memory and a simulated network: one leads, the others follow. The test
 * moves the clock.
 */
import { Latch } from '../../src/base/latch.ts'
import { nullLogger } from '../../src/base/telemetry.ts'
import { Follower, type FollowerOptions } from '../../src/cluster/follower.ts'
import { LeaderFeed, type LeaderFeedOptions } from '../../src/cluster/leader-feed.ts'
import { PeerHub } from '../../src/cluster/peer-hub.ts'
import { PeerLinks } from '../../src/cluster/peer-links.ts'
import { PEER_PROTOCOL } from '../../src/cluster/peer-protocol.ts'
import type { Replica, ReplicaLog } from '../../src/cluster/replica.ts'
import type { Quorum } from '../../src/partition/quorum.ts'
import { SimClock } from '../../src/testing/sim-clock.ts'
import { type SimBroker, SimNetwork } from '../../src/testing/sim-network.ts'
import { SimRandom } from '../../src/testing/sim-random.ts'
import { emptyLog, MemoryLog } from './memory-log.ts'
import { settle } from './settle.ts'
import { batch } from './storage.ts'

export const TOPIC = 'topic'
export const BROKER_EPOCHS: Record<string, number> = { a: 1, b: 2, c: 3 }

/** The files of a topic on one broker. */
export class MemoryReplica implements Replica {
  seenEpoch = 0
  readonly logs = new Map<string, MemoryLog>()
  readonly epochs: number[] = []
  readonly #clock: SimClock

  constructor(clock: SimClock, names: readonly string[]) {
    this.#clock = clock
    for (const name of names) this.add(name)
  }

  add(name: string, start = 0): MemoryLog {
    const log = new MemoryLog(emptyLog(start), this.#clock)
    this.logs.set(name, log)
    return log
  }

  beginEpoch(epoch: number): Promise<void> {
    this.seenEpoch = Math.max(this.seenEpoch, epoch)
    this.epochs.push(epoch)
    return Promise.resolve()
  }

  createLog(name: string, baseOffset: number): Promise<ReplicaLog> {
    return Promise.resolve(this.add(name, baseOffset))
  }
}

export class CopyRig {
  readonly clock: SimClock = new SimClock({ soon: 'driven' })
  readonly random: SimRandom = new SimRandom('copy rig')
  readonly network: SimNetwork = new SimNetwork({ clock: this.clock, random: this.random.split('network') })
  readonly feeds = new Map<string, LeaderFeed>()
  readonly proposals: string[][] = []
  readonly notes: string[] = []
  readonly latch: Latch = new Latch(() => undefined)
  readonly #servers = new Set<string>()
  readonly #brokers = new Map<string, SimBroker>()

  replica(...names: string[]): MemoryReplica {
    return new MemoryReplica(this.clock, names)
  }

  /** Leads the topic with what this replica has. */
  async lead(node: string, replica: MemoryReplica, patch: Partial<LeaderFeedOptions> = {}): Promise<LeaderFeed> {
    const inSync = Object.entries(BROKER_EPOCHS).map(([name, brokerEpoch]) => ({ node: name, brokerEpoch }))
    const feed = new LeaderFeed({
      topicId: TOPIC,
      epoch: 1,
      me: { node, brokerEpoch: BROKER_EPOCHS[node]! },
      inSync,
      replicas: Object.keys(BROKER_EPOCHS),
      minInSync: 2,
      replicaLagMs: 10_000,
      clock: this.clock,
      logger: nullLogger,
      holds: () => true,
      propose: (next) => void this.proposals.push(next.map((one) => one.node)),
      newerEpoch: (epoch) => void this.notes.push(`newer epoch ${epoch}`),
      damaged: (log) => void this.notes.push(`damaged ${log}`),
      ...patch,
    })
    for (const [name, log] of replica.logs) feed.quorum(name, log)
    for (const [name, brokerEpoch] of Object.entries(BROKER_EPOCHS)) feed.registered(name, brokerEpoch)
    this.feeds.set(node, feed)
    await this.#serve(node)
    feed.begin()
    return feed
  }

  follow(node: string, replica: Replica, patch: Partial<FollowerOptions> = {}): Follower {
    const links = new PeerLinks({
      network: this.#broker(node),
      clock: this.clock,
      random: this.random.split(node),
      logger: nullLogger,
    })
    const follower = new Follower({
      topicId: TOPIC,
      epoch: 1,
      leader: { nodeId: 'a', address: 'sim:a' },
      replica,
      links,
      clock: this.clock,
      random: this.random.split(`follower ${node}`),
      latch: this.latch,
      logger: nullLogger,
      brokerEpoch: () => BROKER_EPOCHS[node]!,
      fenced: (epoch) => void this.notes.push(`${node} fenced ${epoch}`),
      quarantined: (log, reason) => void this.notes.push(`${node} quarantined ${log}: ${reason}`),
      ...patch,
    })
    follower.start()
    return follower
  }

  #broker(node: string): SimBroker {
    let broker = this.#brokers.get(node)
    if (!broker) {
      broker = this.network.join(() => ({ nodeId: node, brokerEpoch: BROKER_EPOCHS[node]!, ...PEER_PROTOCOL }))
      this.#brokers.set(node, broker)
    }
    return broker
  }

  async #serve(node: string): Promise<void> {
    if (this.#servers.has(node)) return
    this.#servers.add(node)
    const hub = new PeerHub({
      network: this.#broker(node),
      logger: nullLogger,
      feedOf: (topicId) => (topicId === TOPIC ? (this.feeds.get(node) ?? null) : null),
    })
    await hub.listen()
  }

  /** Lets time pass, with all promise reactions after each event. */
  async pass(ms: number): Promise<void> {
    const until = this.clock.monotonic() + ms
    await settle()
    for (let due = this.clock.nextDue(); due !== undefined && due <= until; due = this.clock.nextDue()) {
      this.clock.runNext()
      await settle()
    }
    this.clock.advanceTo(until)
  }
}

/** The leader appends batches of one record each and syncs. */
export function append(log: MemoryLog, quorum: Quorum, texts: readonly string[], leaderEpoch = 1): void {
  for (const text of texts) {
    log.append(batch(log.nextOffset, [text], { leaderEpoch }))
    quorum.appended()
  }
  log.content.durable = log.content.batches.length
  quorum.written(log.nextOffset)
  quorum.durable(log.durableOffset)
}

export function texts(log: MemoryLog): string[] {
  return log.content.batches.map((one) => `${one.leaderEpoch}:${one.bytes.readUInt32BE(12)}`)
}
