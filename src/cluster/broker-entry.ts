/**
 * A broker's entry in the coordinator's store, `brokers/<nodeId>`: how others reach it and what it speaks. A codec.
 * In a cluster the entry hangs on the broker's lease and is made only where none is, so that its create
 * revision, the *broker epoch*, names one registration and no other. On one node it counts starts.
 */
import { booleanField, integerField, invalidField, nullable, stringField } from '../base/field.ts'
import type { Entry, Guard } from './coordinator.ts'
import { decodeEntry, expectKey, listField, nodeIdField, segment } from './store-entry.ts'

/** Raised when a value of this layout would be misread by the release before. */
const VERSION = 1

export const BROKERS = 'brokers/'

export interface BrokerEntry {
  readonly nodeId: string
  /** Where clients reach it. */
  readonly url: string
  /** Where other brokers reach it, `host:port`. */
  readonly peerAddress: string
  /** What fails together with it (a zone, a rack), or null. */
  readonly rack: string | null
  /** Its release, for people. */
  readonly version: string
  /** The oldest and the newest version of the peer protocol that it speaks. */
  readonly protocol: readonly [oldest: number, newest: number]
  /** It is on its way out: it gives its leaderships away and gets none. */
  readonly draining: boolean
  /** Wall time in milliseconds, for people. */
  readonly startedAt: number
}

/** A registration: the entry and its broker epoch. */
export interface RegisteredBroker extends BrokerEntry {
  /** Create revision of the entry. */
  readonly brokerEpoch: number
}

export const brokerKey = (nodeId: string): string => `${BROKERS}${segment(nodeId)}`

export function encodeBroker(broker: BrokerEntry, nonce: string): string {
  const { nodeId, url, peerAddress, rack, version: release, protocol, draining, startedAt } = broker
  const fields = { id: nodeId, url, peerAddress, rack, release, protocol, draining, startedAt }
  return JSON.stringify({ version: VERSION, nonce, ...fields })
}

const KEYS = ['nonce', 'id', 'url', 'peerAddress', 'rack', 'release', 'protocol', 'draining', 'startedAt']

export function decodeBroker(entry: Entry): RegisteredBroker {
  return decodeEntry(entry, VERSION, KEYS, (fields) => {
    const nodeId = nodeIdField('id', fields.get('id'))
    expectKey(entry, brokerKey(nodeId))
    return {
      nodeId,
      brokerEpoch: entry.createRevision,
      url: stringField('url', fields.get('url')),
      peerAddress: stringField('peerAddress', fields.get('peerAddress')),
      rack: nullable(fields.get('rack'), (value) => stringField('rack', value)),
      version: stringField('release', fields.get('release')),
      protocol: protocolField(fields.get('protocol')),
      draining: booleanField('draining', fields.get('draining')),
      startedAt: integerField('startedAt', fields.get('startedAt'), 0, Number.MAX_SAFE_INTEGER),
    }
  })
}

function protocolField(value: unknown): [number, number] {
  const versions = listField('protocol', value, (path, one) => integerField(path, one, 1, Number.MAX_SAFE_INTEGER))
  const [oldest, newest] = versions
  if (versions.length !== 2 || oldest === undefined || newest === undefined || oldest > newest) {
    throw invalidField('protocol', 'the oldest and the newest version', value)
  }
  return [oldest, newest]
}

/** Holds while that registration lasts; epoch 0: while there is none. */
export function registeredAs(nodeId: string, brokerEpoch: number): Guard {
  return { key: brokerKey(nodeId), createRevision: brokerEpoch }
}

/** On one node there is nobody to reach: the entry is written at each start, for its revision. */
export function encodeStart(nodeId: string, nonce: string): string {
  return JSON.stringify({ version: VERSION, nonce, id: nodeId })
}
