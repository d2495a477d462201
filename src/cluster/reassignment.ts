/**
 * Which brokers have copies of a topic: every change of it, as the transaction that brings it about. A decision, as
 * election.ts is, and under the same guards (R-CAS). A topic moves in steps, each of which can be its last for a while:
 * the new replicas join the old ones and catch up; when all of them are in sync, and one of them leads, the
 * old ones go, and say by themselves when their files are gone.
 *
 * What must stay true: nobody stops being a replica before those that stay have everything; files go only
 * at a replica that the leadership names as leaving, or by a tombstone (R-TOMB).
 */
import { TidingsError } from '@tidings/sdk/protocol'
import { assert } from '../base/invariant.ts'
import { type RegisteredBroker, registeredAs } from './broker-entry.ts'
import type { Guard, Write } from './coordinator.ts'
import { type Brokers, type Plan, plan } from './election.ts'
import { encodeLeadership, type Leadership, leadershipKey, type VersionedLeadership } from './leadership-entry.ts'
import { absent } from './store-entry.ts'

/** Whoever makes the change, as it is registered. */
export type Actor = Pick<RegisteredBroker, 'nodeId' | 'brokerEpoch'>

/** The leadership of a topic that is made now, as a part of the transaction that makes it. */
export interface Placement {
  readonly leadership: Leadership
  readonly guards: readonly Guard[]
  readonly writes: readonly Write[]
}

/** All replicas have everything, since there is nothing yet. Throws `not_enough_replicas` where one is not registered. */
export function firstLeadership(
  topicId: string,
  replicas: readonly string[],
  brokers: Brokers,
  nonce: string,
  like: string | null = null,
): Placement {
  assert(replicas.length > 0, 'a topic has a replica')
  const registered = replicas.map((node) => {
    const broker = brokers.get(node)
    if (broker) return broker
    throw new TidingsError(
      'not_enough_replicas',
      `${node} was to have a copy and is not registered any more: try again`,
    )
  })
  const leader = registered[0]!
  const key = leadershipKey(topicId)
  const leadership: Leadership = {
    topicId,
    leader: leader.nodeId,
    leaderBrokerEpoch: leader.brokerEpoch,
    epoch: 1,
    isr: registered.map(({ nodeId, brokerEpoch }) => ({ node: nodeId, brokerEpoch })),
    replicas,
    target: null,
    wanted: null,
    leaving: [],
    like,
    unclean: null,
  }
  return {
    leadership,
    guards: [absent(key), ...registered.map(({ nodeId, brokerEpoch }) => registeredAs(nodeId, brokerEpoch))],
    writes: [{ put: key, value: encodeLeadership(leadership, nonce) }],
  }
}

/** Asks the leader to hand over; null takes the wish back. Null: it is so already. */
export function want(leadership: VersionedLeadership, to: string | null, by: Actor, nonce: string): Plan | null {
  const wanted = to === leadership.leader ? null : to
  if (wanted === leadership.wanted) return null
  if (wanted !== null && !leadership.isr.some(({ node }) => node === wanted)) return null
  return plan(leadership, { wanted }, nonce, [guardOf(by)])
}

/**
 * The topic begins to move to these replicas, in the order in which they should lead. One that is asked for while
 * another move is under way takes its place: what joined for that one and is not in sync leaves again. Null: nothing to do.
 */
export function moveTo(
  leadership: VersionedLeadership,
  target: readonly string[],
  by: Actor,
  nonce: string,
): Plan | null {
  assert(target.length > 0, 'a topic moves to one replica at least')
  const { isr, leaving } = leadership
  const before = leadership.target ?? leadership.replicas
  if (isSame(target, before)) return null
  const kept = leadership.replicas.filter(
    (node) => leadership.target === null || target.includes(node) || isr.some((member) => member.node === node),
  )
  const replicas = [...target, ...kept.filter((node) => !target.includes(node))]
  const dropped = leadership.replicas.filter((node) => !replicas.includes(node))
  const change = {
    replicas,
    target,
    leaving: [...leaving, ...dropped].filter((node) => !replicas.includes(node)),
  }
  return plan(leadership, change, nonce, [guardOf(by)])
}

/** What still has to happen before the move can end; `none`: it does not move. */
export function moveIsAt({ target, isr, leader }: Leadership): 'none' | 'copying' | 'handing over' | 'done' {
  if (target === null) return 'none'
  if (!target.every((node) => isr.some((member) => member.node === node))) return 'copying'
  return leader !== null && target.includes(leader) ? 'done' : 'handing over'
}

/** The move ends: the replicas are those of its target. Null: it is not that far. */
export function finishMove(leadership: VersionedLeadership, by: Actor, nonce: string): Plan | null {
  const { target, replicas, isr, leaving, wanted } = leadership
  if (target === null || moveIsAt(leadership) !== 'done') return null
  const change = {
    replicas: target,
    target: null,
    isr: isr.filter(({ node }) => target.includes(node)),
    leaving: [...leaving, ...replicas.filter((node) => !target.includes(node))],
    wanted: wanted !== null && target.includes(wanted) ? wanted : null,
  }
  return plan(leadership, change, nonce, [guardOf(by)])
}

/** The files of a replica that was leaving are gone. Null: it is not leaving. */
export function left(leadership: VersionedLeadership, node: string, by: Actor, nonce: string): Plan | null {
  if (!leadership.leaving.includes(node)) return null
  const leaving = leadership.leaving.filter((other) => other !== node)
  return plan(leadership, { leaving }, nonce, [guardOf(by)])
}

/** All brokers that may have files of the topic. */
export function holdersOf({ replicas, leaving }: Leadership): string[] {
  return [...replicas, ...leaving]
}

function guardOf({ nodeId, brokerEpoch }: Actor): Guard {
  return registeredAs(nodeId, brokerEpoch)
}

function isSame(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((node, i) => node === b[i])
}
