/**
 * Who leads a topic and which replicas are in sync: every change of it, as the transaction that brings it about. A
 * decision: from what was read of the store it makes guards and writes, and the guards make a stale
 * reading harmless. Nothing else changes a leadership but reassignment.ts, which changes who has copies.
 *
 * What must stay true: every write is guarded by the version of the leadership and by the registration of
 * whoever writes (R-CAS). Whoever is elected is in sync (R-CANDIDATE) and the epoch is one higher, so that no two brokers
 * ever lead in the same (R-ONE); only an operator elects another, and leaves a record (R-UNCLEAN). Whoever
 * is added to those in sync is registered as it was when it had caught up (R-EXPAND).
 */
import { TidingsError, type TopicSettings } from '@tidings/sdk/protocol'
import { assert } from '../base/invariant.ts'
import { type AuditEntry, auditKey, encodeAudit } from './audit-entry.ts'
import { type RegisteredBroker, registeredAs } from './broker-entry.ts'
import type { Guard, Write } from './coordinator.ts'
import {
  encodeLeadership,
  type InSyncReplica,
  type Leadership,
  leadershipKey,
  type VersionedLeadership,
  versionUnchanged,
} from './leadership-entry.ts'
import { absent } from './store-entry.ts'

/** The registered brokers, by node id. */
export type Brokers = ReadonlyMap<string, RegisteredBroker>

/** When a write of the topic is answered: only what is synced survives every restart. */
export type Durability = TopicSettings['durability']

/** A transaction, and the leadership as it is when it has happened. */
export interface Plan {
  readonly topicId: string
  /** The version on which it rests. */
  readonly version: number
  readonly nonce: string
  readonly guards: readonly Guard[]
  readonly writes: readonly Write[]
  readonly leadership: Leadership
}

/** Whether the leader is registered as it was when it was elected. */
export function hasLeader({ leader, leaderBrokerEpoch }: Leadership, brokers: Brokers): boolean {
  return leader !== null && brokers.get(leader)?.brokerEpoch === leaderBrokerEpoch
}

/**
 * Who may be elected without an operator, in the order in which they should try: those that did not restart
 * before those that did, those that stay before those on their way out, then as the topic prefers. What is only
 * buffered does not survive every restart: there one that restarted may be elected where no other is left.
 */
export function candidates(leadership: Leadership, brokers: Brokers, durability: Durability): RegisteredBroker[] {
  const { isr, replicas } = leadership
  const registered = isr.flatMap(({ node }) => brokers.get(node) ?? [])
  const same = registered.filter((broker) => isRecorded(leadership, broker))
  const rank = (broker: RegisteredBroker): number[] => [
    Number(!same.includes(broker)),
    Number(broker.draining),
    replicas.indexOf(broker.nodeId),
  ]
  const eligible = durability === 'buffered' && same.length > 0 ? same : registered
  return [...eligible].sort((a, b) => compare(rank(a), rank(b)))
}

/**
 * `me` becomes the leader of a topic that has none; whoever else could have been elected stays in sync.
 * Null: it has a leader, or I am no candidate.
 */
export function elect(
  leadership: VersionedLeadership,
  brokers: Brokers,
  durability: Durability,
  me: string,
  nonce: string,
): Plan | null {
  const eligible = candidates(leadership, brokers, durability)
  const own = eligible.find(({ nodeId }) => nodeId === me)
  if (!own || hasLeader(leadership, brokers)) return null
  const isr = eligible.map(({ nodeId, brokerEpoch }) => ({ node: nodeId, brokerEpoch }))
  return plan(leadership, { ...ledBy(leadership, own), isr }, nonce, [
    ...withoutLeader(leadership, brokers),
    registeredAs(me, own.brokerEpoch),
    ...addedTo(leadership, isr, me),
  ])
}

/**
 * The leader gives the topic to another that is in sync; it must have everything on stable storage and the
 * leader must take no more writes. Null: that one is not registered as it was when it was in sync.
 * @param isLeaving the leader ends: nobody is to wait for it as one of those in sync
 */
export function handOver(
  leadership: VersionedLeadership,
  brokers: Brokers,
  to: string,
  nonce: string,
  isLeaving = false,
): Plan | null {
  const { leader, leaderBrokerEpoch, isr } = leadership
  const next = brokers.get(to)
  if (leader === null || to === leader || !next || !isRecorded(leadership, next)) return null
  const inSync = isLeaving ? isr.filter(({ node }) => node !== leader) : isr
  return plan(leadership, { ...ledBy(leadership, next), isr: inSync }, nonce, [
    registeredAs(leader, leaderBrokerEpoch),
    registeredAs(to, next.brokerEpoch),
  ])
}

/** The leader says who is in sync, itself among them. The four conditions of joining are its own to check. */
export function changeInSync(leadership: VersionedLeadership, isr: readonly InSyncReplica[], nonce: string): Plan {
  const { leader, leaderBrokerEpoch } = leadership
  assert(leader !== null, 'the leader says who is in sync')
  return plan(leadership, { isr }, nonce, [
    registeredAs(leader, leaderBrokerEpoch),
    ...addedTo(leadership, isr, leader),
  ])
}

/**
 * A replica whose files are damaged does not lead and is not in sync any more (R-CORRUPT). The last one that is in sync stays so, since
 * nobody knows better; then the topic waits for it, or for an operator. Null: nothing to change.
 */
export function withdraw(leadership: VersionedLeadership, me: RegisteredBroker, nonce: string): Plan | null {
  const others = leadership.isr.filter(({ node }) => node !== me.nodeId)
  const isr = others.length === 0 ? leadership.isr : others
  const isLeader = leadership.leader === me.nodeId
  if (!isLeader && isr.length === leadership.isr.length) return null
  const change = isLeader ? { isr, leader: null, leaderBrokerEpoch: 0 } : { isr }
  return plan(leadership, change, nonce, [registeredAs(me.nodeId, me.brokerEpoch)])
}

/** What an operator says who elects a replica that is not in sync. */
export interface Order {
  readonly node: string
  /** Who gave it, for the record. */
  readonly by: string
  /** Wall time, milliseconds. */
  readonly at: number
  /** Also where one that is in sync is registered: it cannot lead, and the operator knows why. */
  readonly despiteInSync: boolean
}

/** By an operator only: what is committed and not on that replica is lost. Throws where there is no need or no way. */
export function electUnclean(leadership: VersionedLeadership, brokers: Brokers, order: Order, nonce: string): Plan {
  const { topicId, leader, epoch, isr, replicas } = leadership
  const refuse = (why: string): never => {
    throw new TidingsError('conflict', `topic ${topicId}: ${why}`)
  }
  if (hasLeader(leadership, brokers)) refuse(`${leader} leads it; nothing has to be given up`)
  const next = brokers.get(order.node) ?? refuse(`${order.node} is not registered; start it first`)
  if (!replicas.includes(order.node)) refuse(`${order.node} has no copy; those of ${replicas.join(', ')} may have one`)
  const [inSync] = candidates(leadership, brokers, 'fsync')
  if (inSync && !order.despiteInSync) {
    refuse(`${inSync.nodeId} has everything and can be elected without loss; insist only if it cannot lead`)
  }
  const changed = {
    ...ledBy(leadership, next),
    isr: [{ node: order.node, brokerEpoch: next.brokerEpoch }],
    unclean: { epoch: epoch + 1, at: order.at },
  }
  const audit: AuditEntry = {
    at: order.at,
    by: order.by,
    what: 'unclean_election',
    topicId,
    detail: { node: order.node, epoch: epoch + 1, insteadOf: isr.map(({ node }) => node), leaderBefore: leader },
  }
  const key = auditKey(order.at, nonce)
  const made = plan(leadership, changed, nonce, [
    ...withoutLeader(leadership, brokers),
    registeredAs(order.node, next.brokerEpoch),
    absent(key),
  ])
  return { ...made, writes: [...made.writes, { put: key, value: encodeAudit(audit) }] }
}

/** The transaction that makes the change of the leadership, under its version and these guards. */
export function plan(
  leadership: VersionedLeadership,
  change: Partial<Leadership>,
  nonce: string,
  guards: readonly Guard[],
): Plan {
  const { topicId, version } = leadership
  const changed = { ...leadership, ...change }
  const value = encodeLeadership(changed, nonce)
  return {
    topicId,
    version,
    nonce,
    guards: [versionUnchanged(leadership), ...guards],
    writes: [{ put: leadershipKey(topicId), value }],
    leadership: changed,
  }
}

/** The next epoch, under this broker; it is wanted no more, whoever was. */
function ledBy({ epoch, wanted }: Leadership, { nodeId, brokerEpoch }: RegisteredBroker): Partial<Leadership> {
  const still = wanted === nodeId ? null : wanted
  return { leader: nodeId, leaderBrokerEpoch: brokerEpoch, epoch: epoch + 1, wanted: still }
}

/** In sync under the registration that it has. */
function isRecorded({ isr }: Leadership, { nodeId, brokerEpoch }: RegisteredBroker): boolean {
  return isr.some((one) => one.node === nodeId && one.brokerEpoch === brokerEpoch)
}

/** Those that were not in sync under that registration must still have it; whoever writes is guarded already. */
function addedTo({ isr: before }: Leadership, isr: readonly InSyncReplica[], writer: string): Guard[] {
  const isNew = ({ node, brokerEpoch }: InSyncReplica): boolean =>
    !before.some((one) => one.node === node && one.brokerEpoch === brokerEpoch)
  return isr.filter((one) => one.node !== writer && isNew(one)).map((one) => registeredAs(one.node, one.brokerEpoch))
}

/** The old leader's registration is gone, or another: that it stays so. */
function withoutLeader({ leader }: Leadership, brokers: Brokers): Guard[] {
  return leader === null ? [] : [registeredAs(leader, brokers.get(leader)?.brokerEpoch ?? 0)]
}

function compare(a: readonly number[], b: readonly number[]): number {
  const at = a.findIndex((value, i) => value !== b[i])
  return at === -1 ? 0 : a[at]! - b[at]!
}
