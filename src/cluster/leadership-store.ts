/**
 * Leaderships as the coordinator's store has them: reads them and carries plans out. Without state of its own.
 *
 * What must stay true: an outcome is said only when it is known. Where an answer is lost the same transaction is
 * sent again, which its guard on the version makes harmless; it is known not to have happened only when the
 * version has moved to another's write, or a guard is broken that never holds again: one that is on its way could still
 * arrive before that.
 */
import { TidingsError } from '@tidings/sdk/protocol'
import type { Clock } from '../base/clock.ts'
import { registeredAs } from './broker-entry.ts'
import type { Coordinator, Entry, Guard } from './coordinator.ts'
import type { Plan } from './election.ts'
import { decodeLeadership, leadershipKey, type VersionedLeadership, versionUnchanged } from './leadership-entry.ts'

/**
 * `refused`: it did not happen, or it did and another change came on top of it already: what is there now tells.
 * `unknown`: the store does not say; ask again by `settle`.
 */
export type Outcome =
  | { readonly is: 'done'; readonly leadership: VersionedLeadership }
  | { readonly is: 'refused'; readonly leadership: VersionedLeadership | null }
  | { readonly is: 'unknown' }

const TRIES = 5
const PAUSE_MS = 50

export class LeadershipStore {
  readonly #coordinator: Coordinator
  readonly #clock: Clock

  constructor(coordinator: Coordinator, clock: Clock) {
    this.#coordinator = coordinator
    this.#clock = clock
  }

  /** As it is now (linearizable); null: there is no such topic. */
  async read(topicId: string): Promise<VersionedLeadership | null> {
    const entry = await this.#coordinator.get(leadershipKey(topicId))
    return entry && decodeLeadership(entry)
  }

  /** What holds while this broker leads the topic under this registration; throws `no_leader` when it does not. */
  async guardsOf(topicId: string, me: { nodeId: string; brokerEpoch: number | null }): Promise<Guard[]> {
    const leadership = await this.read(topicId)
    const { nodeId, brokerEpoch } = me
    if (!leadership || brokerEpoch === null || !isLedBy(leadership, nodeId, brokerEpoch)) {
      throw new TidingsError('no_leader', `${nodeId} does not lead this topic any more: ask again, another broker may`)
    }
    return [versionUnchanged(leadership), registeredAs(nodeId, brokerEpoch)]
  }

  /** Carries it out. Rejects with a TidingsError when the store refused it for a reason of its own; nothing happened then. */
  commit(plan: Plan): Promise<Outcome> {
    return this.#carryOut(plan, false)
  }

  /** The same for one whose outcome was unknown before. */
  settle(plan: Plan): Promise<Outcome> {
    return this.#carryOut(plan, true)
  }

  /** `unsure`: an earlier try may have happened, or be on its way. */
  async #carryOut(plan: Plan, unsure: boolean): Promise<Outcome> {
    let isUnsure = unsure
    for (let tried = 0; tried < TRIES; tried++) {
      if (tried > 0) await this.#pause(PAUSE_MS * 2 ** tried)
      let isBroken = false
      try {
        const { ok, revision } = await this.#coordinator.transact(plan.guards, plan.writes)
        if (ok) return { is: 'done', leadership: { ...plan.leadership, version: revision, nonce: plan.nonce } }
        isBroken = plan.guards.every(staysBroken)
      } catch (error) {
        if (TidingsError.is(error) && !isUnsure) throw error
        isUnsure = true
      }
      const entry = await this.#get(plan.topicId)
      if (entry === undefined) continue
      const leadership = entry && decodeLeadership(entry)
      if (leadership?.nonce === plan.nonce) return { is: 'done', leadership }
      if (!isUnsure || isBroken || leadership?.version !== plan.version) return { is: 'refused', leadership }
    }
    return { is: 'unknown' }
  }

  /** Undefined: the store does not answer. */
  async #get(topicId: string): Promise<Entry | null | undefined> {
    try {
      return await this.#coordinator.get(leadershipKey(topicId))
    } catch {
      return undefined
    }
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#clock.after(ms, resolve)
    })
  }
}

/** No revision is ever given twice, so what is not at it any more never is again; what is there may be gone again. */
function staysBroken(guard: Guard): boolean {
  return 'modRevision' in guard ? guard.modRevision > 0 : guard.createRevision > 0
}

function isLedBy({ leader, leaderBrokerEpoch }: VersionedLeadership, nodeId: string, brokerEpoch: number): boolean {
  return leader === nodeId && leaderBrokerEpoch === brokerEpoch
}
