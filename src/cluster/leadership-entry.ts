/**
 * Who leads a topic and who has copies of it, `leadership/<topicId>` in the coordinator's store: a codec. The entry's mod
 * revision is its *version*, which guards every change; election.ts alone says which changes there are.
 *
 * What must stay true of every value: the in-sync replicas are never none, each is one of the replicas,
 * and so is the leader, who is in sync. What breaks that is not written, and refused where it is found.
 */
import { TidingsError } from '@tidings/sdk/protocol'
import { fieldsOf, integerField, nullable, shown, stringField } from '../base/field.ts'
import type { Entry, Guard } from './coordinator.ts'
import { decodeEntry, expectKey, idField, listField, nodeIdField, segment } from './store-entry.ts'

/** Raised when a value of this layout would be misread by the release before. */
const VERSION = 1

export const LEADERSHIP = 'leadership/'

/** A replica that has all that is committed, as of that registration. */
export interface InSyncReplica {
  readonly node: string
  readonly brokerEpoch: number
}

/** The last election of a replica that was not in sync: what was committed before it may be gone. */
export interface Unclean {
  readonly epoch: number
  /** Wall time, milliseconds. */
  readonly at: number
}

export interface Leadership {
  readonly topicId: string
  /** Null: nobody leads until one of those in sync is elected. */
  readonly leader: string | null
  /** The registration under which it was elected; 0 without a leader. */
  readonly leaderBrokerEpoch: number
  /** Rises by one with every election, the first is 1. */
  readonly epoch: number
  readonly isr: readonly InSyncReplica[]
  /** In the order in which they should lead. While the topic moves: the old and the new ones. */
  readonly replicas: readonly string[]
  /** The replicas that it moves to, or null. */
  readonly target: readonly string[] | null
  /** Who should lead: the leader hands over to it as soon as it can. */
  readonly wanted: string | null
  /** Replicas no more, whose files are still to go; each takes itself off when its are gone. */
  readonly leaving: readonly string[]
  /** The topic whose replicas this one gets as well (it holds its dead letters), or null. */
  readonly like: string | null
  readonly unclean: Unclean | null
}

export interface VersionedLeadership extends Leadership {
  /** Mod revision of the entry. */
  readonly version: number
  /** Names the write that made this version. */
  readonly nonce: string
}

export const leadershipKey = (topicId: string): string => `${LEADERSHIP}${segment(topicId)}`

/** Holds while nobody has changed it since. */
export function versionUnchanged({ topicId, version }: { topicId: string; version: number }): Guard {
  return { key: leadershipKey(topicId), modRevision: version }
}

export function encodeLeadership(value: Leadership, nonce: string): string {
  const why = faultOf(value)
  if (why) throw new TidingsError('internal', `leadership of topic ${value.topicId}: ${why}`)
  const { topicId, leader, leaderBrokerEpoch, epoch, isr, replicas, target, wanted, leaving, like, unclean } = value
  const fields = { topicId, leader, leaderBrokerEpoch, epoch, isr, replicas, target, wanted, leaving, like, unclean }
  return JSON.stringify({ version: VERSION, nonce, ...fields })
}

const KEYS = ['nonce', 'topicId', 'leader', 'leaderBrokerEpoch', 'epoch', 'isr', 'replicas', 'target', 'wanted']
const LATER_KEYS = ['leaving', 'like', 'unclean']
const EPOCH_MAX = 0x7fffffff

export function decodeLeadership(entry: Entry): VersionedLeadership {
  return decodeEntry(entry, VERSION, [...KEYS, ...LATER_KEYS], (fields) => {
    const topicId = idField('topicId', fields.get('topicId'))
    expectKey(entry, leadershipKey(topicId))
    const nodes = (key: string): string[] => listField(key, fields.get(key), nodeIdField)
    const value: VersionedLeadership = {
      topicId,
      version: entry.modRevision,
      nonce: stringField('nonce', fields.get('nonce')),
      leader: nullable(fields.get('leader'), (leader) => nodeIdField('leader', leader)),
      leaderBrokerEpoch: revisionField('leaderBrokerEpoch', fields.get('leaderBrokerEpoch')),
      epoch: integerField('epoch', fields.get('epoch'), 1, EPOCH_MAX),
      isr: listField('isr', fields.get('isr'), inSyncField),
      replicas: nodes('replicas'),
      target: fields.get('target') === null ? null : nodes('target'),
      wanted: nullable(fields.get('wanted'), (wanted) => nodeIdField('wanted', wanted)),
      leaving: nodes('leaving'),
      like: nullable(fields.get('like'), (like) => idField('like', like)),
      unclean: nullable(fields.get('unclean'), uncleanField),
    }
    const why = faultOf(value)
    if (why) throw new TidingsError('invalid_argument', why)
    return value
  })
}

/** What is wrong with the value as a whole, or null. */
export function faultOf(value: Leadership): string | null {
  const { leader, leaderBrokerEpoch, isr, replicas, target, leaving } = value
  const inSync = isr.map(({ node }) => node)
  for (const [what, nodes] of Object.entries({ isr: inSync, replicas, target: target ?? [], leaving })) {
    if (new Set(nodes).size !== nodes.length) return `${what}: ${shown(nodes)} names a node twice`
  }
  if (isr.length === 0) return 'isr: one replica at least is in sync, or nobody could ever lead again'
  const stranger = inSync.find((node) => !replicas.includes(node))
  if (stranger !== undefined) return `isr: ${shown(stranger)} is none of the replicas`
  if (leader !== null && !inSync.includes(leader)) return `leader: ${shown(leader)} is not in sync`
  if ((leader === null) !== (leaderBrokerEpoch === 0)) return 'leaderBrokerEpoch: 0 without a leader, and only then'
  if (target?.some((node) => !replicas.includes(node))) return 'target: a topic moves to replicas of its own'
  if (target?.length === 0) return 'target: a topic moves to one replica at least'
  if (leaving.some((node) => replicas.includes(node))) return 'leaving: a replica is not leaving'
  return null
}

function revisionField(path: string, value: unknown): number {
  return integerField(path, value, 0, Number.MAX_SAFE_INTEGER)
}

function inSyncField(path: string, value: unknown): InSyncReplica {
  const fields = fieldsOf(path, value, ['node', 'brokerEpoch'])
  return {
    node: nodeIdField(`${path}.node`, fields.get('node')),
    brokerEpoch: revisionField(`${path}.brokerEpoch`, fields.get('brokerEpoch')),
  }
}

function uncleanField(value: unknown): Unclean {
  const fields = fieldsOf('unclean', value, ['epoch', 'at'])
  return {
    epoch: integerField('unclean.epoch', fields.get('epoch'), 1, EPOCH_MAX),
    at: integerField('unclean.at', fields.get('at'), 0, Number.MAX_SAFE_INTEGER),
  }
}
