/**
 * This broker's copy of one topic: takes the role that the cluster view says (role.ts), and gives it up, one after the
 * other. A runner; `replica-host.ts` has one for each topic and tells it when something may have changed.
 *
 * Must stay true: the files are open in one role at a time, and the one before has closed them; a leader remembers its
 * epoch durably before anybody follows it (R4) and serves clients only when all that it found is committed in it; what is
 * damaged does not lead (R13).
 */
import { TidingsError } from '@tidings/sdk/protocol'
import type { Clock, Random, Timer } from '../base/clock.ts'
import type { Latch } from '../base/latch.ts'
import type { Logger } from '../base/telemetry.ts'
import { CorruptionError } from '../log/log-recovery.ts'
import type { Term } from '../partition/quorum.ts'
import type { BrokerHost } from './broker-host.ts'
import type { CatalogTopic } from './catalog.ts'
import type { ClusterView } from './cluster-view.ts'
import { handOver, withdraw } from './election.ts'
import { Follower } from './follower.ts'
import type { LeaderFeed } from './leader-feed.ts'
import type { VersionedLeadership } from './leadership-entry.ts'
import type { LeadershipStore } from './leadership-store.ts'
import { commitPlan, LedTopic } from './led-topic.ts'
import type { PeerLinks } from './peer-links.ts'
import { left } from './reassignment.ts'
import type { Registration } from './registration.ts'
import { ReplicaFiles } from './replica-files.ts'
import { isSameRole, type Role, roleOf } from './role.ts'

export interface ReplicaPorts {
  registration: Registration
  view: ClusterView
  store: LeadershipStore
  links: PeerLinks
  /** Where topics are opened; made with all this. */
  readonly host: () => BrokerHost
  clock: Clock
  random: Random
  latch: Latch
  logger: Logger
  replicaLagMs: number
  /** `isServing`, or what may be elected, has changed. */
  changed(): void
  /** Nothing of the topic is this broker's business: nothing is open. */
  gone(): void
}

const RETRY_MS = 500

export class TopicReplica {
  readonly #ports: ReplicaPorts
  /** As the store has it, as far as this broker knows. */
  #topic: CatalogTopic
  #role: Role = { is: 'stranger' }
  #leading: LedTopic | null = null
  #following: { follower: Follower; files: ReplicaFiles } | null = null
  /** Whether all that the topic consists of is here, as far as was seen; null: not looked yet. */
  #isWhole: boolean | null = null
  #damage: string | null = null
  #isFounding = false
  #isClosed = false
  #isQueued = false
  #work: Promise<void> = Promise.resolve()
  #retry: Timer | null = null

  constructor(topic: CatalogTopic, ports: ReplicaPorts) {
    this.#topic = topic
    this.#ports = ports
  }

  get role(): Role['is'] {
    return this.#role.is
  }

  /** Why this copy is out of service, or null. */
  get damage(): string | null {
    return this.#damage
  }

  /** Whether clients are served from here. */
  get isServing(): boolean {
    return this.#leading?.feed.holds === true && this.#ports.host().serves(this.#topic.id)
  }

  /** It has all files, and they are good: it may stand for election. */
  get mayLead(): boolean {
    return this.#damage === null && this.#isWhole === true
  }

  /** What others follow; null: the topic is not led here. */
  get feed(): LeaderFeed | null {
    return this.#leading?.feed ?? null
  }

  /** Looks anew at what it should be. */
  reconcile(): void {
    if (this.#isQueued || this.#isClosed) return
    this.#isQueued = true
    void this.#do(async () => {
      this.#isQueued = false
      await this.#step()
    })
  }

  /** The topic is made here and now: it leads before the store says so, until `founded`. */
  found(leadership: VersionedLeadership): Term {
    this.#isFounding = true
    this.#isWhole = true
    this.#role = { is: 'leader', epoch: leadership.epoch }
    this.#leading = this.#newLeading(leadership)
    return this.#leading.term
  }

  /** Whether the founding came to something. The host has closed the files otherwise. */
  founded(isMade: boolean): void {
    this.#isFounding = false
    if (!isMade) {
      this.#leading?.feed.end('the topic was not made')
      this.#leading = null
      this.#role = { is: 'stranger' }
      this.#isWhole = null
    }
    this.reconcile()
  }

  /** Gives the topic to another broker that is in sync, if there is one. */
  giveAway(): Promise<void> {
    return this.#do(async () => {
      const { view, registration } = this.#ports
      const leadership = view.leaderships.get(this.#topic.id)
      const next = leadership?.isr.find(({ node, brokerEpoch }) => {
        const broker = view.brokers.get(node)
        return node !== registration.nodeId && broker?.brokerEpoch === brokerEpoch && !broker.draining
      })
      if (next) await this.#handOver(next.node, true)
    })
  }

  /** Ends whatever role it has; the files are closed when it resolves. */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#retry?.cancel()
    await this.#do(() => this.#leave())
  }

  #do(task: () => Promise<void>): Promise<void> {
    const done = this.#work.then(task).catch((error: unknown) => this.#failed(error))
    this.#work = done
    return done
  }

  #failed(error: unknown): void {
    const { clock, logger, latch } = this.#ports
    if (latch.tripped || this.#isClosed) return
    logger.warn({ err: error, topic: this.#topic.name }, 'a copy of a topic did not come into its role: trying again')
    this.#retry?.cancel()
    this.#retry = clock.after(RETRY_MS, () => this.reconcile())
  }

  async #step(): Promise<void> {
    if (this.#isFounding || this.#isClosed) return
    const { view, registration } = this.#ports
    const now = view.topicByName(this.#topic.name)
    if (now?.id === this.#topic.id) this.#topic = now
    const leadership = view.leaderships.get(this.#topic.id)
    const wanted = roleOf(leadership, view.brokers, registration)
    if (!isSameRole(wanted, this.#role) || (wanted.is === 'leader' && !this.#leading)) {
      // Until it has come into the other: what fails on the way is tried again.
      this.#role = { is: 'stranger' }
      await this.#leave()
      await this.#enter(wanted)
      this.#role = wanted
    }
    if (this.#damage !== null) await this.#withdraw()
    if (leadership) await this.#follow(leadership)
    this.#ports.changed()
    if (wanted.is === 'stranger' && this.#damage === null) this.#ports.gone()
  }

  async #enter(role: Role): Promise<void> {
    if (role.is === 'leaving') return this.#goAway()
    if (role.is === 'stranger' || this.#damage !== null) return
    if (role.is === 'leader') return this.#lead()
    const files = await this.#openFiles()
    if (!files) return
    if (role.is === 'waiting') return files.close()
    if (this.#isWhole !== true) {
      try {
        await this.#standDown()
      } catch (error) {
        await files.close()
        throw error
      }
    }
    this.#copy(files, role)
  }

  /**
   * It counts as in sync and has lost its files, perhaps with its disk: it is out before it copies anything, for half a copy
   * looks like a whole one to an election. A topic that was made just now has none yet anywhere.
   */
  async #standDown(): Promise<void> {
    const { view, registration, random, logger } = this.#ports
    const { id, name } = this.#topic
    const leadership = view.leaderships.get(id)
    const me = view.brokers.get(registration.nodeId)
    const recorded = leadership?.isr.find(({ node }) => node === registration.nodeId)
    if (!leadership || !me || !recorded) return
    if (leadership.epoch === 1 && recorded.brokerEpoch === registration.brokerEpoch) return
    const plan = withdraw(leadership, me, random.id())
    if (!plan) return
    logger.error({ topic: name }, 'files of a topic are gone that this broker had: it copies them anew')
    const { is } = await commitPlan(this.#ports, plan)
    await view.refreshLeadership(id)
    if (is !== 'done') throw new Error('the in-sync replicas have changed meanwhile')
  }

  /** Ends the role that it has. */
  async #leave(): Promise<void> {
    const host = this.#ports.host()
    const leading = this.#leading
    this.#leading = null
    const following = this.#following
    this.#following = null
    if (leading) {
      // Whatever opens the topic still ends by this, and the host closes after it.
      leading.feed.end('the leadership is over')
      await host.resign(this.#topic, movedError(this.#topic.name))
      await leading.opening
    }
    if (following) {
      await following.follower.stop()
      await following.files.close()
    }
  }

  // --- as a follower ---

  async #openFiles(): Promise<ReplicaFiles | null> {
    const { environment } = this.#ports.host()
    const { id, settings } = this.#topic
    try {
      const files = await ReplicaFiles.open(environment, id, settings.segmentBytes)
      this.#isWhole = files.isWhole(settings.partitions)
      return files
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error
      await this.#quarantine(error.message)
      return null
    }
  }

  #copy(files: ReplicaFiles, { epoch, leader, address }: Extract<Role, { is: 'follower' }>): void {
    const { links, clock, random, latch, logger, registration, view } = this.#ports
    const follower = new Follower({
      topicId: this.#topic.id,
      epoch,
      leader: { nodeId: leader, address },
      replica: files,
      links,
      clock,
      random,
      latch,
      logger,
      brokerEpoch: () => registration.brokerEpoch,
      isUnclean: view.leaderships.get(this.#topic.id)?.unclean?.epoch === epoch,
      fenced: () => this.#reread(),
      quarantined: (log, reason) => void this.#do(() => this.#quarantine(log === null ? reason : `${log}: ${reason}`)),
    })
    this.#following = { follower, files }
    follower.start()
  }

  /** This broker is registered anew. */
  reregistered(): void {
    this.#following?.follower.reregistered()
    this.reconcile()
  }

  // --- as the leader ---

  async #lead(): Promise<void> {
    const { view, host } = this.#ports
    const leadership = view.leaderships.get(this.#topic.id)
    if (!leadership) return
    const leading = this.#newLeading(leadership)
    this.#leading = leading
    leading.opening = host()
      .lead(this.#topic, leading.term)
      .then(
        () => {
          this.#isWhole = true
          this.#ports.changed()
        },
        (error: unknown) => this.#notLed(leading, error),
      )
  }

  #newLeading(leadership: VersionedLeadership): LedTopic {
    return new LedTopic(this.#topic, leadership, {
      ...this.#ports,
      reread: () => this.#reread(),
      damaged: (reason) => void this.#do(() => this.#quarantine(reason)),
      settled: () => this.reconcile(),
    })
  }

  #notLed(leading: LedTopic, error: unknown): void {
    if (this.#leading !== leading) return
    void this.#do(async () => {
      if (this.#leading !== leading) return
      this.#leading = null
      this.#role = { is: 'stranger' }
      leading.feed.end('the topic cannot be opened')
      if (error instanceof CorruptionError) await this.#quarantine(error.message)
      else throw error
    })
  }

  /** What changed in the store without another role. */
  async #follow(leadership: VersionedLeadership): Promise<void> {
    const leading = this.#leading
    if (!leading || leadership.epoch !== leading.feed.epoch) return
    leading.follow(leadership)
    const { wanted } = leadership
    if (wanted !== null && wanted !== leadership.leader && this.isServing) await this.#handOver(wanted)
  }

  /** Everything is done and copied first; who asks meanwhile waits until the other serves. */
  async #handOver(to: string, isLeaving = false): Promise<void> {
    const leading = this.#leading
    if (!leading || !this.isServing) return
    const { host, view, random, logger } = this.#ports
    const { name, id } = this.#topic
    const settled = async (): Promise<void> => {
      const leadership = view.leaderships.get(id)
      const plan = leadership && handOver(leadership, view.brokers, to, random.id(), isLeaving)
      if (!plan) return
      const { is } = await commitPlan(this.#ports, plan)
      logger.info({ topic: name, to, is }, 'handing a topic over')
    }
    try {
      await host().resign(this.#topic, { settled })
    } finally {
      // Also where the store did not take it: the topic is closed, and is opened again if it is still led here.
      leading.feed.end('the topic was handed over')
      this.#leading = null
      this.#role = { is: 'stranger' }
    }
    await view.refreshLeadership(id)
    this.reconcile()
  }

  // --- out of service ---

  async #quarantine(reason: string): Promise<void> {
    if (this.#damage !== null) return
    this.#damage = reason
    const { logger } = this.#ports
    const { name: topic } = this.#topic
    logger.error({ topic, reason }, 'this copy of a topic is damaged: it leaves service, others have theirs')
    await this.#leave()
    await this.#withdraw()
    this.#ports.changed()
  }

  /** Asked anew at every step, for the store may not have taken it. */
  async #withdraw(): Promise<void> {
    const { view, registration, random } = this.#ports
    const leadership = view.leaderships.get(this.#topic.id)
    const me = view.brokers.get(registration.nodeId)
    const plan = leadership && me && withdraw(leadership, me, random.id())
    if (plan) await commitPlan(this.#ports, plan)
  }

  /** The topic has moved to other brokers, and they have everything. */
  async #goAway(): Promise<void> {
    const { host, view, registration, random } = this.#ports
    await host().files.bury(this.#topic.id, async () => undefined)
    this.#isWhole = null
    this.#damage = null
    const leadership = view.leaderships.get(this.#topic.id)
    const { nodeId, brokerEpoch } = registration
    if (!leadership || brokerEpoch === null) return
    const plan = left(leadership, nodeId, { nodeId, brokerEpoch }, random.id())
    if (plan) await commitPlan(this.#ports, plan)
  }

  #reread(): void {
    const again = this.#ports.view.refreshLeadership(this.#topic.id)
    again.then(() => this.reconcile()).catch(() => undefined)
  }
}

function movedError(topic: string): TidingsError {
  return new TidingsError(
    'no_leader',
    `another broker leads topic ${topic} now; whether this was done is not known: repeat it, with the same Idempotency-Key`,
  )
}
