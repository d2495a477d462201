/**
 * One broker in the simulation of copying: boots on what its disk has, and leads or follows the topic as it has heard,
 * late, from the store. It never doubts its lease: what is committed must not rest on that.
 */
import { nullLogger } from '../../src/base/telemetry.ts'
import { Follower } from '../../src/cluster/follower.ts'
import { LeaderFeed } from '../../src/cluster/leader-feed.ts'
import { PeerHub } from '../../src/cluster/peer-hub.ts'
import { PeerLinks } from '../../src/cluster/peer-links.ts'
import { PEER_PROTOCOL } from '../../src/cluster/peer-protocol.ts'
import type { Quorum } from '../../src/partition/quorum.ts'
import type { SimClock } from '../../src/testing/sim-clock.ts'
import type { SimBroker, SimNetwork } from '../../src/testing/sim-network.ts'
import type { SimRandom } from '../../src/testing/sim-random.ts'
import type { CopyMachine, SimReplica, WatchedLog } from './copying-machine.ts'
import type { SimLeadership, SimStore } from './copying-store.ts'

export interface BrokerSurroundings {
  clock: SimClock
  random: SimRandom
  network: SimNetwork
  store: SimStore
  nodes: readonly string[]
  minInSync: number
  /** Names of the logs that a leader makes where they are missing. */
  logNames: readonly string[]
  firstView(): SimLeadership
  /** Whether leaders still append. */
  isWriting(): boolean
  count(what: string): void
  journal(line: string): void
}

/** What a broker does for the topic at present. */
type Role =
  | { kind: 'leader'; epoch: number; feed: LeaderFeed; isOpen: boolean; isOver: boolean; writing: Promise<void>[] }
  | { kind: 'follower'; epoch: number; follower: Follower }

/** From a boot to a crash. */
export class BrokerLife {
  readonly node: string
  readonly clock: ReturnType<SimClock['process']>
  isOver = false
  failure: unknown = null
  replica: SimReplica | null = null
  role: Role | null = null
  brokerEpoch: number
  view: SimLeadership
  readonly #around: BrokerSurroundings
  readonly #random: SimRandom
  readonly #network: SimBroker
  readonly #links: PeerLinks
  #work: Promise<void> = Promise.resolve()

  constructor(around: BrokerSurroundings, machine: CopyMachine) {
    const { clock, random, network, store } = around
    this.node = machine.node
    this.#around = around
    this.clock = clock.process()
    this.#random = random.split(`${machine.node} ${clock.monotonic()}`)
    this.brokerEpoch = store.register(machine.node)
    this.view = around.firstView()
    const hello = { nodeId: machine.node, brokerEpoch: this.brokerEpoch, ...PEER_PROTOCOL }
    this.#network = network.join(() => hello)
    const shared = { network: this.#network, clock: this.clock, logger: nullLogger }
    this.#links = new PeerLinks({ ...shared, random: this.#random.split('links') })
    this.#do(async () => {
      this.replica = await machine.boot(this.clock, (cause) => this.#failed(cause))
      if (this.isOver) return
      const hub = new PeerHub({
        network: this.#network,
        logger: nullLogger,
        feedOf: () => (this.role?.kind === 'leader' ? this.role.feed : null),
      })
      await hub.listen()
    })
    this.#turn()
  }

  /** The store changed, as it was then: heard late. */
  hear(leadership: SimLeadership, registrations: ReadonlyMap<string, number>): void {
    if (this.isOver) return
    if (leadership.version > this.view.version) this.view = leadership
    if (this.role?.kind === 'leader') {
      for (const node of this.#around.nodes) {
        if (node !== this.node) this.role.feed.registered(node, registrations.get(node) ?? null)
      }
    }
    this.#turn()
  }

  /** The lease ended and the broker lives on; it registers again when it notices. */
  reregister(): void {
    this.brokerEpoch = this.#around.store.register(this.node)
    if (this.role?.kind === 'follower') this.role.follower.reregistered()
  }

  kill(how: 'closed' | 'silent'): void {
    this.isOver = true
    this.clock.kill()
    this.#network.leave(how)
  }

  #failed(cause: unknown): void {
    if (!this.isOver) this.failure ??= cause
  }

  #read(): void {
    const { store } = this.#around
    this.clock.after(this.#random.integer(30), () => this.hear(store.leadership, new Map(store.registrations)))
  }

  #do(work: () => Promise<void>): void {
    this.#work = this.#work.then(async () => {
      if (this.isOver || this.failure) return
      try {
        await work()
      } catch (error) {
        this.#failed(error)
      }
    })
  }

  /** Plays the part that the view gives it. */
  #turn(): void {
    this.#do(async () => {
      const { epoch, leader, leaderBrokerEpoch } = this.view
      const kind = leader !== this.node ? 'follower' : leaderBrokerEpoch === this.brokerEpoch ? 'leader' : null
      if (this.role?.kind === kind && this.role?.epoch === epoch) return
      await this.#endRole()
      if (this.isOver || kind === null) return
      if (kind === 'leader') await this.#lead(epoch)
      else this.#follow(epoch, leader)
    })
  }

  async #endRole(): Promise<void> {
    const role = this.role
    this.role = null
    if (role?.kind === 'follower') await role.follower.stop()
    else if (role) {
      role.isOver = true
      role.feed.end('another leads')
      // Two writers on one log there never are: who follows next waits for what is under way.
      await Promise.all(role.writing)
    }
  }

  async #lead(epoch: number): Promise<void> {
    const { nodes, minInSync, logNames, count, store } = this.#around
    const replica = this.replica!
    if (replica.seenEpoch > epoch) return
    await replica.beginEpoch(epoch)
    for (const log of replica.logs.values()) if (log.durableOffset < log.nextOffset) await log.sync()
    if (this.isOver) return
    const me = { node: this.node, brokerEpoch: this.brokerEpoch }
    const feed: LeaderFeed = new LeaderFeed({
      topicId: 'topic',
      epoch,
      me,
      inSync: this.view.inSync,
      replicas: nodes,
      minInSync,
      replicaLagMs: 2000,
      clock: this.clock,
      logger: nullLogger,
      holds: () => true,
      propose: (inSync) =>
        store.propose(epoch, this.node, me.brokerEpoch, inSync, () => {
          if (this.isOver || role.isOver) return
          if (store.leadership.epoch === epoch) feed.settled(store.leadership.inSync)
          else this.#read()
        }),
      newerEpoch: () => this.#read(),
      damaged: (log, error) => this.#failed(new Error(`${log} is damaged`, { cause: error })),
    })
    const role: Role & { kind: 'leader' } = { kind: 'leader', epoch, feed, isOpen: false, isOver: false, writing: [] }
    for (const [name, log] of replica.logs) feed.quorum(name, log)
    for (const node of nodes) if (node !== this.node) feed.registered(node, store.registrations.get(node) ?? null)
    this.role = role
    feed.begin()
    feed.ready().then(
      () => {
        if (role.isOver || this.isOver) return
        role.isOpen = true
        count('open')
        role.writing.push(this.#begin(role, replica, logNames).catch((error: unknown) => this.#failed(error)))
      },
      () => count('over before it was open'),
    )
  }

  async #begin(role: Role & { kind: 'leader' }, replica: SimReplica, logNames: readonly string[]): Promise<void> {
    for (const name of logNames) {
      if (!replica.logs.has(name)) role.feed.quorum(name, await replica.createLog(name, 0))
      if (role.isOver) return
    }
    for (const [name, log] of replica.logs) role.writing.push(this.#write(role, name, log))
  }

  /** Appends to one log for as long as it leads, one batch after the other. */
  async #write(role: Role & { kind: 'leader' }, name: string, log: WatchedLog): Promise<void> {
    const quorum = role.feed.quorum(name, log)
    const random = this.#random.split(`${role.epoch} ${name}`)
    for (let number = 0; ; ) {
      await new Promise<void>((resolve) => void this.clock.after(random.integer(60), resolve))
      if (role.isOver || this.failure !== null) return
      try {
        if (!this.#around.isWriting()) {
          if (log.durableOffset < log.nextOffset) await log.sync()
          quorum.durable(log.durableOffset)
          continue
        }
        if (!this.#isAdmitted(quorum)) continue
        const texts = Array.from(
          { length: 1 + random.integer(3) },
          () => `${this.node} ${role.epoch} ${name} ${number++}`,
        )
        await log.append(texts, role.epoch)
        quorum.appended()
        quorum.written(log.nextOffset)
        if (random.chance(0.7)) await log.sync()
        const committed = quorum.durable(log.durableOffset)
        const removes = random.chance(0.05) && !role.isOver
        if (removes && (await log.removeBelow(committed - random.integer(20)))) this.#around.count('removed')
      } catch (error) {
        return this.#failed(error)
      }
    }
  }

  #isAdmitted(quorum: Quorum): boolean {
    try {
      quorum.admit()
      return true
    } catch {
      this.#around.count('not admitted')
      return false
    }
  }

  #follow(epoch: number, leader: string): void {
    const { count, journal } = this.#around
    const replica = this.replica!
    const follower = new Follower({
      topicId: 'topic',
      epoch,
      leader: { nodeId: leader, address: `sim:${leader}` },
      replica,
      links: this.#links,
      clock: this.clock,
      random: this.#random.split(`follow ${epoch}`),
      latch: replica.latch,
      logger: nullLogger,
      brokerEpoch: () => this.brokerEpoch,
      fenced: () => {
        count('fenced')
        this.#read()
      },
      quarantined: (log, reason) => {
        journal(`${this.node} quarantined ${log}: ${reason}`)
        this.#failed(new Error(`R-TRUNC: ${this.node} ${log}: ${reason}`))
      },
    })
    this.role = { kind: 'follower', epoch, follower }
    follower.start()
  }
}
