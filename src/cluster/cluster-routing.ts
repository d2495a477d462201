/**
 * Who answers for a topic, read from the cluster view. A topic that nobody has yet is made by the broker that the
 * placement would have lead it, so that whoever makes a topic leads it from its first moment.
 *
 * A runner: a topic that is not known is looked up in the store before anybody hears that there is none, and one
 * without a leader is waited for as long as an election usually takes.
 */
import { TidingsError } from '@tidings/sdk/protocol'
import type { Clock, Timer } from '../base/clock.ts'
import type { ClusterView } from './cluster-view.ts'
import { hasLeader } from './election.ts'
import type { Elsewhere, Route, Routing } from './routing.ts'

export interface ClusterRoutingOptions {
  nodeId: string
  view: ClusterView
  clock: Clock
  /** Whether this broker serves the topic that it leads: it opens it first. */
  readonly isServed: (topicId: string) => boolean
  /** Calls back when `isServed` may answer otherwise. Answers how to stop it. */
  readonly onServed: (listener: () => void) => () => void
  /** Who should lead a topic of that name that does not exist. */
  readonly founderOf: (topic: string) => string
}

/** How long a request waits for a leader: an election takes less, unless there is nobody to elect. */
const PATIENCE_MS = 3000
/** What a leader that hands a topic over has done is still answered. */
const GRACE_MS = 1000
/** Requests that may wait at once. */
const WAITING_MAX = 10_000

export class ClusterRouting implements Routing {
  readonly nodeId: string
  readonly #options: ClusterRoutingOptions
  #waiting = 0

  constructor(options: ClusterRoutingOptions) {
    this.nodeId = options.nodeId
    this.#options = options
  }

  known(topic: string): Route | null {
    const entry = this.#options.view.topicByName(topic)
    return entry && this.#led(entry.id)
  }

  async find(topic: string): Promise<Route> {
    const { view } = this.#options
    await view.refresh(topic).catch((error: unknown) => {
      throw new TidingsError('no_leader', 'the store of the cluster does not answer: try again in a moment', {
        cause: error,
      })
    })
    if (!view.topicByName(topic)) return this.#toBroker(this.#options.founderOf(topic)) ?? noLeader(topic)
    return this.known(topic) ?? this.#wait(topic)
  }

  watch(topic: string, { nodeId }: Elsewhere, moved: () => void): () => void {
    const { view, clock } = this.#options
    let due: Timer | null = null
    const unwatch = view.onChange(() => {
      if (due || this.#isLedBy(topic, nodeId)) return
      due = clock.after(GRACE_MS, moved)
    })
    return () => {
      unwatch()
      due?.cancel()
    }
  }

  /** As far as it is known: while nobody leads, the last one does, and of a topic that is being made whoever makes it. */
  #isLedBy(topic: string, nodeId: string): boolean {
    const { view } = this.#options
    const id = view.topicByName(topic)?.id
    const leader = id === undefined ? undefined : view.leaderships.get(id)?.leader
    return leader === undefined || leader === nodeId
  }

  #led(topicId: string): Route | null {
    const { view, nodeId, isServed } = this.#options
    const leadership = view.leaderships.get(topicId)
    if (!leadership || !hasLeader(leadership, view.brokers)) return null
    if (leadership.leader === nodeId) return isServed(topicId) ? { isHere: true } : null
    return this.#toBroker(leadership.leader!)
  }

  #toBroker(nodeId: string): Route | null {
    if (nodeId === this.nodeId) return { isHere: true }
    const broker = this.#options.view.brokers.get(nodeId)
    return broker ? { isHere: false, nodeId, url: broker.url } : null
  }

  #wait(topic: string): Promise<Route> {
    const { view, clock, onServed } = this.#options
    if (this.#waiting >= WAITING_MAX) noLeader(topic)
    this.#waiting++
    return new Promise((resolve, reject) => {
      const look = (): void => {
        const route = this.known(topic)
        if (route) end(() => resolve(route))
        // Deleted meanwhile: whoever asks anew hears so.
        else if (!view.topicByName(topic)) end(() => reject(leaderless(topic)))
      }
      const unwatch = [view.onChange(look), onServed(look)]
      const limit = clock.after(PATIENCE_MS, () => end(() => reject(leaderless(topic))))
      const end = (settle: () => void): void => {
        this.#waiting--
        limit.cancel()
        for (const stop of unwatch) stop()
        settle()
      }
    })
  }
}

function leaderless(topic: string): TidingsError {
  return new TidingsError('no_leader', `no broker leads topic ${topic} at the moment: try again`)
}

function noLeader(topic: string): never {
  throw leaderless(topic)
}
