/**
 * What can be told of a cluster to whoever asks any of its brokers: who is there, which topics there are, who leads and copies
 * them. From the view of a cluster, or of a broker that is alone, which is a cluster of one.
 */
import type { TopicSettings } from '@tidings/sdk/protocol'
import type { ClusterView } from './cluster-view.ts'
import { hasLeader } from './election.ts'

export interface NodeFact {
  readonly id: string
  /** Of its registration: another one after each start. */
  readonly epoch: number
  /** Milliseconds since the epoch. */
  readonly startedAt: number
  /** The rest is of nodes of a cluster. */
  readonly url?: string
  readonly rack?: string | null
  readonly version?: string
  readonly draining?: boolean
}

export interface CopiesFact {
  /** Null: nobody leads at the moment. */
  readonly leader: string | null
  readonly epoch: number
  readonly replicas: readonly string[]
  /** Those of them that have all that is committed. */
  readonly isr: readonly string[]
}

export interface TopicFact {
  readonly name: string
  readonly settings: TopicSettings
  readonly copies: CopiesFact
}

export interface ClusterFacts {
  nodes(): NodeFact[]
  /** By name. */
  topics(): TopicFact[]
  copiesOf(topicId: string): CopiesFact
}

interface AloneHost {
  node(): NodeFact
  topics(): { name: string; settings: TopicSettings }[]
}

/** Of a broker that is alone. */
export class AloneFacts implements ClusterFacts {
  readonly #host: AloneHost

  constructor(host: AloneHost) {
    this.#host = host
  }

  nodes(): NodeFact[] {
    return [this.#host.node()]
  }

  topics(): TopicFact[] {
    return this.#host.topics().map(({ name, settings }) => ({ name, settings, copies: this.copiesOf() }))
  }

  copiesOf(): CopiesFact {
    const { id, epoch } = this.#host.node()
    return { leader: id, epoch, replicas: [id], isr: [id] }
  }
}

const NOBODY: CopiesFact = { leader: null, epoch: 0, replicas: [], isr: [] }

export class ClusteredFacts implements ClusterFacts {
  readonly #view: ClusterView

  constructor(view: ClusterView) {
    this.#view = view
  }

  nodes(): NodeFact[] {
    return [...this.#view.brokers.values()]
      .map(({ nodeId, brokerEpoch, startedAt, url, rack, version, draining }) => {
        return { id: nodeId, epoch: brokerEpoch, startedAt, url, rack, version, draining }
      })
      .sort((a, b) => (a.id < b.id ? -1 : 1))
  }

  topics(): TopicFact[] {
    return [...this.#view.topics.values()]
      .map(({ id, name, settings }) => ({ name, settings, copies: this.copiesOf(id) }))
      .sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  copiesOf(topicId: string): CopiesFact {
    const leadership = this.#view.leaderships.get(topicId)
    if (!leadership) return NOBODY
    const { leader, epoch, replicas, isr } = leadership
    const isLed = hasLeader(leadership, this.#view.brokers)
    return { leader: isLed ? leader : null, epoch, replicas, isr: isr.map(({ node }) => node) }
  }
}
