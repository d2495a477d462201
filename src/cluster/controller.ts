/**
 * Tends the cluster: a runner on every broker, of which the one acts that has been registered longest. What it does is
 * control.ts; that two of them act for a while is harmless, since every write is guarded.
 *
 * It keeps nothing but how long brokers have been there or away, counted anew by each controller: what is to
 * happen stands in the store, as does a rebalance that was asked for, until it is done.
 */
import type { Clock, Random, Timer } from '../base/clock.ts'
import type { Logger } from '../base/telemetry.ts'
import type { ClusterView } from './cluster-view.ts'
import { type Action, type ControlSettings, nextActions, placedOf, placesOf } from './control.ts'
import type { Coordinator } from './coordinator.ts'
import type { Plan } from './election.ts'
import type { VersionedLeadership } from './leadership-entry.ts'
import type { LeadershipStore } from './leadership-store.ts'
import { finishMove, moveTo, want } from './reassignment.ts'
import { rebalance } from './rebalance.ts'
import { REBALANCE_KEY, RebalanceRequests } from './rebalance-request.ts'
import type { Registration } from './registration.ts'

export interface ControllerOptions {
  coordinator: Coordinator
  view: ClusterView
  store: LeadershipStore
  registration: Pick<Registration, 'nodeId' | 'brokerEpoch' | 'holds'>
  clock: Clock
  random: Random
  logger: Logger
  settings?: Partial<ControlSettings>
}

const REPLACE_AFTER_MS = 600_000

export const CONTROL_DEFAULTS: ControlSettings = {
  replaceAfterMs: REPLACE_AFTER_MS,
  preferAfterMs: 30_000,
  handOversAtOnce: 16,
  movesAtOnce: 4,
}

/** How often it looks when nothing changes; and at most one topic goes back to its preferred leader in that time. */
const LOOK_MS = 1000
/** Changes of that long are looked at together. */
const GATHER_MS = 20
const WRITES_AT_ONCE = 8

export class Controller {
  readonly #options: ControllerOptions
  readonly #settings: ControlSettings
  readonly #requests: RebalanceRequests
  /** Since when brokers are there (by broker epoch) or away: monotonic time. */
  readonly #present = new Map<string, { brokerEpoch: number; since: number }>()
  readonly #away = new Map<string, number>()
  /** Where the rebalance under way puts topics, and for which request and brokers that was computed. */
  #rebalanced: { for: string; moves: ReadonlyMap<string, readonly string[]> } | null = null
  #unsubscribe: (() => void) | null = null
  #timer: Timer | null = null
  #isLooking = false
  /** Something changed while it looked. */
  #isDirty = false
  #hasFailed = false
  #dueAt = Number.POSITIVE_INFINITY
  #lastPreferred = Number.NEGATIVE_INFINITY
  #stopped: Promise<void> = Promise.resolve()

  constructor(options: ControllerOptions) {
    this.#options = options
    this.#settings = { ...CONTROL_DEFAULTS, ...options.settings }
    this.#requests = new RebalanceRequests(options.coordinator, options.random)
  }

  start(): void {
    this.#unsubscribe = this.#options.view.onChange(() => this.#schedule(GATHER_MS))
    this.#wake()
  }

  /** No write follows once it resolves. */
  stop(): Promise<void> {
    this.#unsubscribe?.()
    this.#unsubscribe = null
    this.#timer?.cancel()
    return this.#stopped
  }

  /** Whether it is this broker that acts. */
  get isActing(): boolean {
    const { view, registration } = this.#options
    const { nodeId, brokerEpoch, holds } = registration
    const own = view.brokers.get(nodeId)
    if (!holds || !own || own.brokerEpoch !== brokerEpoch) return false
    return [...view.brokers.values()].every((other) => other.brokerEpoch >= own.brokerEpoch)
  }

  /** Asks for a rebalance, whichever broker acts. Resolves when that is stored. */
  requestRebalance(by: string): Promise<void> {
    return this.#requests.make(by, this.#options.clock.now())
  }

  #wake(): void {
    if (this.#isLooking) this.#isDirty = true
    else this.#stopped = this.#look()
  }

  #schedule(delayMs: number): void {
    const due = this.#options.clock.monotonic() + delayMs
    if (due >= this.#dueAt) return
    this.#timer?.cancel()
    this.#dueAt = due
    this.#timer = this.#options.clock.after(delayMs, () => {
      this.#dueAt = Number.POSITIVE_INFINITY
      this.#wake()
    })
  }

  async #look(): Promise<void> {
    this.#isLooking = true
    this.#notePresence()
    try {
      if (this.isActing) await this.#act()
      this.#hasFailed = false
    } catch (error) {
      if (!this.#hasFailed) {
        this.#options.logger.warn({ err: error }, 'the controller could not do what it wanted: trying again')
      }
      this.#hasFailed = true
    }
    this.#isLooking = false
    if (this.#unsubscribe) this.#schedule(this.#isDirty ? GATHER_MS : LOOK_MS)
    this.#isDirty = false
  }

  async #act(): Promise<void> {
    const { view, clock } = this.#options
    const rebalanced = await this.#rebalancing()
    const now = clock.monotonic()
    const factors = new Map([...view.topics.values()].map(({ id, settings }) => [id, settings.replicationFactor]))
    const actions = nextActions({
      leaderships: view.leaderships,
      brokers: view.brokers,
      replicationFactorOf: (topicId) => factors.get(topicId) ?? null,
      awayMs: new Map([...this.#away].map(([node, since]) => [node, now - since])),
      presentMs: new Map([...this.#present].map(([node, { since }]) => [node, now - since])),
      rebalanced,
      mayPrefer: now - this.#lastPreferred >= LOOK_MS,
      settings: this.#settings,
    })
    for (let from = 0; from < actions.length && this.#unsubscribe; from += WRITES_AT_ONCE) {
      const some = actions.slice(from, from + WRITES_AT_ONCE)
      const outcomes = await Promise.allSettled(some.map((action) => this.#do(action)))
      const failed = outcomes.find(({ status }) => status === 'rejected')
      if (failed?.status === 'rejected') throw failed.reason
    }
  }

  async #do(action: Action): Promise<void> {
    const { view, store, logger, clock } = this.#options
    const leadership = view.leaderships.get(action.topicId)
    const plan = leadership && this.#planOf(action, leadership)
    if (!plan) return
    if (action.is === 'want') this.#lastPreferred = clock.monotonic()
    // Refused or unknown: the next look shows what is there.
    const outcome = await store.commit(plan)
    if (outcome.is === 'done') logger.info({ ...action }, 'the controller changed who should have or lead a topic')
    await view.refreshLeadership(action.topicId)
  }

  #planOf(action: Action, leadership: VersionedLeadership): Plan | null {
    const { registration, random } = this.#options
    const { nodeId, brokerEpoch } = registration
    if (brokerEpoch === null) return null
    const me = { nodeId, brokerEpoch }
    if (action.is === 'want') return want(leadership, action.to, me, random.id())
    if (action.is === 'move') return moveTo(leadership, action.to, me, random.id())
    return finishMove(leadership, me, random.id())
  }

  /** What the rebalance that was asked for still has to move; when that is nothing it is done. */
  async #rebalancing(): Promise<ReadonlyMap<string, readonly string[]>> {
    const { view, coordinator, logger } = this.#options
    const request = await coordinator.get(REBALANCE_KEY)
    if (!request) {
      this.#rebalanced = null
      return new Map()
    }
    // A broker that restarts gets nothing and loses nothing by that: what is to be copied waits for it.
    if (this.#isAnyAwayForNow()) return this.#rebalanced?.moves ?? new Map()
    const leaderships = [...view.leaderships.values()]
    const places = placesOf(view.brokers)
    const key = [request.modRevision, ...places.map(({ nodeId }) => nodeId).sort()].join(' ')
    const isAtRest = leaderships.every(({ target }) => target === null)
    const current = this.#rebalanced
    const isDone = (moves: ReadonlyMap<string, readonly string[]>): boolean =>
      leaderships.every((leadership) => {
        const to = moves.get(leadership.topicId)
        return !to || String(placedOf(leadership).replicas) === String(to)
      })
    if (current?.for === key && !(isAtRest && isDone(current.moves))) return current.moves
    const factorById = new Map([...view.topics.values()].map(({ id, settings }) => [id, settings.replicationFactor]))
    const topics = leaderships.map((leadership) => ({
      ...placedOf(leadership),
      like: leadership.like,
      replicationFactor: factorById.get(leadership.topicId) ?? leadership.replicas.length,
    }))
    const moves = rebalance(topics, places)
    this.#rebalanced = { for: key, moves }
    if (moves.size === 0 && isAtRest) {
      await this.#requests.done(request)
      logger.info({}, 'the rebalance is done')
    }
    return moves
  }

  #isAnyAwayForNow(): boolean {
    const now = this.#options.clock.monotonic()
    const lostMs = this.#settings.replaceAfterMs ?? REPLACE_AFTER_MS
    return [...this.#away.values()].some((since) => now - since < lostMs)
  }

  #notePresence(): void {
    const { view, clock } = this.#options
    const now = clock.monotonic()
    for (const { nodeId, brokerEpoch } of view.brokers.values()) {
      this.#away.delete(nodeId)
      if (this.#present.get(nodeId)?.brokerEpoch !== brokerEpoch) this.#present.set(nodeId, { brokerEpoch, since: now })
    }
    for (const nodeId of this.#present.keys()) if (!view.brokers.has(nodeId)) this.#present.delete(nodeId)
    const holders = new Set([...view.leaderships.values()].flatMap(({ replicas }) => replicas))
    for (const nodeId of holders) {
      if (!view.brokers.has(nodeId) && !this.#away.has(nodeId)) this.#away.set(nodeId, now)
    }
    for (const nodeId of this.#away.keys()) if (!holders.has(nodeId)) this.#away.delete(nodeId)
  }
}
