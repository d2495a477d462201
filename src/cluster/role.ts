/**
 * What this broker is to a topic, from what the cluster view says: a decision. `replica-host.ts` brings it about.
 *
 * Must stay true: a broker leads only under the registration that it was elected with; it follows nobody but the leader
 * that is registered as it was elected; files go only where the leadership names this broker as leaving, or a
 * tombstone names the topic (R12).
 */
import type { RegisteredBroker } from './broker-entry.ts'
import type { Leadership } from './leadership-entry.ts'

export type Role =
  | { readonly is: 'leader'; readonly epoch: number }
  | { readonly is: 'follower'; readonly epoch: number; readonly leader: string; readonly address: string }
  /** It has a copy, and nobody leads. */
  | { readonly is: 'waiting' }
  /** Its copy is to go. */
  | { readonly is: 'leaving' }
  /** The topic is none of its business. */
  | { readonly is: 'stranger' }

/** This broker; the epoch is null while it is not registered. */
export interface Me {
  readonly nodeId: string
  readonly brokerEpoch: number | null
}

export function roleOf(
  leadership: Leadership | undefined,
  brokers: ReadonlyMap<string, RegisteredBroker>,
  { nodeId, brokerEpoch }: Me,
): Role {
  if (!leadership) return { is: 'stranger' }
  if (!leadership.replicas.includes(nodeId)) return { is: leadership.leaving.includes(nodeId) ? 'leaving' : 'stranger' }
  const { leader, leaderBrokerEpoch, epoch } = leadership
  if (leader === null) return { is: 'waiting' }
  if (leader === nodeId) return brokerEpoch === leaderBrokerEpoch ? { is: 'leader', epoch } : { is: 'waiting' }
  const broker = brokers.get(leader)
  if (broker?.brokerEpoch !== leaderBrokerEpoch) return { is: 'waiting' }
  return { is: 'follower', epoch, leader, address: broker.peerAddress }
}

export function isSameRole(a: Role, b: Role): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}
