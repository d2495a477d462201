/**
 * What the controller does next: a decision over the whole of what is known of a cluster. It asks for leaders and moves
 * copies; who is elected and who is in sync is not its business. Everything is bounded: so many hand-overs and so
 * many moves under way at once, preferred leaders one at a time and last.
 *
 * What must stay true: an action is needed when it is returned and is not returned again once it has happened, so that
 * a controller that dies in the midst of it leaves the rest to the next.
 */
import type { RegisteredBroker } from './broker-entry.ts'
import { type Brokers, hasLeader } from './election.ts'
import type { Leadership, VersionedLeadership } from './leadership-entry.ts'
import { next, type Place, type PlacedTopic } from './placement.ts'
import { moveIsAt } from './reassignment.ts'

export type Action =
  | { readonly topicId: string; readonly is: 'want'; readonly to: string | null }
  | { readonly topicId: string; readonly is: 'move'; readonly to: readonly string[] }
  | { readonly topicId: string; readonly is: 'finish' }

export interface ControlSettings {
  /** How long a broker stays away before its copies are made elsewhere; null: never. */
  readonly replaceAfterMs: number | null
  /** How long a broker is there before it gets the topics back that it should lead. */
  readonly preferAfterMs: number
  readonly handOversAtOnce: number
  readonly movesAtOnce: number
}

export interface ControlState {
  readonly leaderships: ReadonlyMap<string, VersionedLeadership>
  readonly brokers: Brokers
  /** Null: the topic is not known. */
  replicationFactorOf(topicId: string): number | null
  /** How long brokers that have copies have not been registered, as far as it was seen. */
  readonly awayMs: ReadonlyMap<string, number>
  /** How long the registered ones have been, as far as it was seen. */
  readonly presentMs: ReadonlyMap<string, number>
  /** Where a rebalance that an operator asked for puts topics. */
  readonly rebalanced: ReadonlyMap<string, readonly string[]>
  /** Whether a topic may go back to its preferred leader now. */
  readonly mayPrefer: boolean
  readonly settings: ControlSettings
}

export function nextActions(state: ControlState): Action[] {
  return new Control(state).actions()
}

/**
 * Who should lead instead of the present leader: in sync, registered as it was then, not on its way out;
 * of those whoever leads least, then as the topic prefers. Null: nobody. `led` says how many topics a broker leads.
 */
export function nextLeader(
  { leader, isr, replicas, target }: Leadership,
  brokers: Brokers,
  led: (nodeId: string) => number,
): string | null {
  const able = (target ?? replicas).filter((node) => {
    const broker = brokers.get(node)
    const member = isr.find((one) => one.node === node)
    return node !== leader && broker && member?.brokerEpoch === broker.brokerEpoch && !broker.draining
  })
  return able.reduce<string | null>((a, b) => (a !== null && led(a) <= led(b) ? a : b), null)
}

/** Brokers that may get copies. */
export function placesOf(brokers: Brokers): Place[] {
  return [...brokers.values()].filter(({ draining }) => !draining)
}

/** Where the copies are, or are moving to. */
export function placedOf({ topicId, target, replicas }: Leadership): PlacedTopic {
  return { topicId, replicas: target ?? replicas }
}

class Control {
  readonly #state: ControlState
  readonly #actions: Action[] = []
  readonly #led = new Map<string, number>()
  readonly #copies = new Map<string, number>()
  readonly #places: Place[]
  #handOversLeft: number
  #movesLeft: number

  constructor(state: ControlState) {
    this.#state = state
    this.#places = placesOf(state.brokers)
    const all = [...state.leaderships.values()]
    this.#handOversLeft = state.settings.handOversAtOnce - all.filter(({ wanted }) => wanted !== null).length
    this.#movesLeft = state.settings.movesAtOnce - all.filter(({ target }) => target !== null).length
    for (const leadership of all) {
      if (leadership.leader !== null && hasLeader(leadership, state.brokers)) this.#add(this.#led, leadership.leader)
      for (const node of placedOf(leadership).replicas) this.#add(this.#copies, node)
    }
  }

  actions(): Action[] {
    // In a fixed order, so that a bound cuts off the same topics on every controller.
    const all = [...this.#state.leaderships.values()].sort((a, b) => (a.topicId < b.topicId ? -1 : 1))
    const idle = all.filter((leadership) => !this.#tend(leadership))
    const unmoved = idle.filter((leadership) => !this.#place(leadership))
    const isBusy = this.#actions.some(({ is }) => is === 'want') || all.some(({ wanted }) => wanted !== null)
    if (isBusy || !this.#state.mayPrefer) return this.#actions
    for (const leadership of unmoved) if (this.#prefer(leadership)) break
    return this.#actions
  }

  /** What is under way, and a leader on its way out. False: the topic is at rest. */
  #tend(leadership: VersionedLeadership): boolean {
    const { topicId, wanted, leader } = leadership
    const { brokers } = this.#state
    if (wanted !== null && !this.#canLead(leadership, wanted)) {
      this.#actions.push({ topicId, is: 'want', to: nextLeader(leadership, brokers, this.#ledBy) })
      return true
    }
    const at = moveIsAt(leadership)
    if (at === 'done') {
      this.#actions.push({ topicId, is: 'finish' })
      return true
    }
    if (wanted !== null || !hasLeader(leadership, brokers)) return true
    // A move to a broker that does not come back must not wait for it.
    const isMoving = at !== 'none' && !placedOf(leadership).replicas.some((node) => this.#isLost(node))
    const mustGo = at === 'handing over' || brokers.get(leader!)?.draining === true
    const to = mustGo ? nextLeader(leadership, brokers, this.#ledBy) : null
    if (to === null || this.#handOversLeft <= 0) return isMoving
    this.#handOversLeft--
    this.#add(this.#led, to)
    this.#actions.push({ topicId, is: 'want', to })
    return true
  }

  /** Where the copies should be instead. False: they are well where they are. */
  #place(leadership: VersionedLeadership): boolean {
    const { topicId, target } = leadership
    if (target === null && this.#movesLeft <= 0) return false
    const { replicas } = placedOf(leadership)
    const to = this.#companions(leadership) ?? this.#repaired(leadership) ?? this.#state.rebalanced.get(topicId)
    if (!to || (to.length === replicas.length && to.every((node, i) => node === replicas[i]))) return false
    if (target === null) this.#movesLeft--
    this.#actions.push({ topicId, is: 'move', to })
    return true
  }

  /** The replicas of the topic that it goes with. */
  #companions({ like }: Leadership): readonly string[] | null {
    const main = like === null ? undefined : this.#state.leaderships.get(like)
    return main ? placedOf(main).replicas : null
  }

  /** As many copies as there should be, none on a broker that has been away for too long. Null: so it is. */
  #repaired(leadership: VersionedLeadership): string[] | null {
    const { topicId, leader } = leadership
    const { replicas } = placedOf(leadership)
    const { brokers } = this.#state
    const kept = replicas.filter((node) => !this.#isLost(node))
    const wanted = this.#state.replicationFactorOf(topicId) ?? replicas.length
    if (kept.length === replicas.length && wanted === replicas.length) return null
    // Whoever is only away for a while keeps its copy; what it shares a rack with is not known.
    const chosen: Place[] = kept.map((nodeId) => brokers.get(nodeId) ?? { nodeId, rack: null })
    while (chosen.length > wanted)
      chosen.splice(
        chosen.findLastIndex(({ nodeId }) => nodeId !== leader),
        1,
      )
    while (chosen.length < wanted && this.#places.some(({ nodeId }) => !chosen.some((one) => one.nodeId === nodeId))) {
      const place = next(topicId, chosen, this.#places, this.#copies, this.#copiesMax(wanted))
      this.#add(this.#copies, place.nodeId)
      chosen.push(place)
    }
    // What can be copied to nobody stays as it is: whoever is away may come back.
    const isBetter = chosen.length > kept.length || kept.length >= wanted
    return isBetter ? chosen.map(({ nodeId }) => nodeId) : null
  }

  #copiesMax(added: number): number {
    const total = [...this.#copies.values()].reduce((sum, count) => sum + count, 0)
    return Math.ceil((total + added) / this.#places.length)
  }

  /** Away for so long that its copies are made elsewhere; nobody is when most are away, for then it is something else. */
  #isLost(node: string): boolean {
    const { awayMs, brokers, settings } = this.#state
    if (settings.replaceAfterMs === null || (awayMs.get(node) ?? 0) < settings.replaceAfterMs) return false
    return awayMs.size < brokers.size
  }

  /** The topic goes back to the broker that should lead it. */
  #prefer(leadership: VersionedLeadership): boolean {
    const { topicId, leader, replicas } = leadership
    const { brokers, presentMs, settings } = this.#state
    const preferred = replicas[0]!
    if (preferred === leader || !hasLeader(leadership, brokers) || !this.#canLead(leadership, preferred)) return false
    if ((presentMs.get(preferred) ?? 0) < settings.preferAfterMs) return false
    this.#actions.push({ topicId, is: 'want', to: preferred })
    return true
  }

  #canLead({ isr }: Leadership, node: string): boolean {
    const broker: RegisteredBroker | undefined = this.#state.brokers.get(node)
    return broker?.draining === false && isr.some((one) => one.node === node && one.brokerEpoch === broker.brokerEpoch)
  }

  readonly #ledBy = (nodeId: string): number => this.#led.get(nodeId) ?? 0

  #add(counts: Map<string, number>, node: string): void {
    counts.set(node, (counts.get(node) ?? 0) + 1)
  }
}
