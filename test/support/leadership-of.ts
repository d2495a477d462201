/** Brokers and leaderships as the store has them, made from the little that a test says of them. */
import type { RegisteredBroker } from '../../src/cluster/broker-entry.ts'
import type { Brokers } from '../../src/cluster/election.ts'
import type { VersionedLeadership } from '../../src/cluster/leadership-entry.ts'

export function brokerOf(nodeId: string, brokerEpoch = 1, patch: Partial<RegisteredBroker> = {}): RegisteredBroker {
  return {
    nodeId,
    brokerEpoch,
    url: `http://${nodeId}:7070`,
    peerAddress: `${nodeId}:7071`,
    rack: null,
    version: '1.0.0',
    protocol: [1, 1],
    draining: false,
    startedAt: 0,
    ...patch,
  }
}

/** `{ a: 1, b: 2 }`: a is registered with broker epoch 1, b with 2. */
export function brokersOf(epochs: Readonly<Record<string, number>>): Brokers {
  return new Map(Object.entries(epochs).map(([nodeId, epoch]) => [nodeId, brokerOf(nodeId, epoch)]))
}

/** Led by `a` in epoch 1, with a, b and c in sync; every broker epoch is 1. */
export function leadershipOf(patch: Partial<VersionedLeadership> = {}): VersionedLeadership {
  return {
    topicId: 't-1',
    version: 7,
    nonce: 'n-0',
    leader: 'a',
    leaderBrokerEpoch: 1,
    epoch: 1,
    isr: inSync({ a: 1, b: 1, c: 1 }),
    replicas: ['a', 'b', 'c'],
    target: null,
    wanted: null,
    leaving: [],
    like: null,
    unclean: null,
    ...patch,
  }
}

export function inSync(epochs: Readonly<Record<string, number>>): VersionedLeadership['isr'] {
  return Object.entries(epochs).map(([node, brokerEpoch]) => ({ node, brokerEpoch }))
}
