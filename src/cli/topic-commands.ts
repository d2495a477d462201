/** The commands about topics, described. */
import { LIMITS, SCHEMA_COMPATIBILITIES } from '@tidings/sdk/protocol'
import type { Command, Run } from './command.ts'
import { BROKER_FLAGS, bytes, choice, duration, type Flag, integer, TOPIC, text, toggle } from './flag.ts'

const load = async (name: 'create' | 'update' | 'list' | 'show' | 'remove'): Promise<Run> =>
  (await import('./topic.ts'))[name]

const SETTINGS: readonly Flag[] = [
  integer('partitions', 'ordered logs in it (1); may grow, never shrink', {
    min: 1,
    max: LIMITS.partitions,
    setting: 'partitions',
  }),
  duration('max-age', 'messages older than this go; none: they stay', {
    isNullable: true,
    setting: 'retention.maxAgeMs',
  }),
  bytes('max-bytes', 'the oldest go when a partition is larger; none: they stay', {
    isNullable: true,
    setting: 'retention.maxBytes',
  }),
  toggle('until-acked', 'messages go when every subscription has acknowledged them', {
    setting: 'retention.untilAcked',
  }),
  choice('durability', ['fsync', 'buffered'], 'what a publish waits for (fsync)', { setting: 'durability' }),
  bytes('max-message-bytes', 'no message is larger (1MiB)', { min: 1, setting: 'maxMessageBytes' }),
  duration('deduplication-window', 'how long idempotency keys are known (5m)', { setting: 'deduplicationWindowMs' }),
  bytes('segment-bytes', 'size of one file of its log (64MiB)', { setting: 'segmentBytes' }),
  toggle('compact', 'keep the last message of each key', { setting: 'compact' }),
  duration('tombstone', 'how long the mark of a deleted key stays', { setting: 'tombstoneMs' }),
  toggle('expire-with-subscriptions', 'delete it when its last subscription expires', {
    setting: 'expireWithSubscriptions',
  }),
  text('schema', 'FILE', 'a JSON Schema that values must meet; none: no schema', { isNullable: true }),
  choice('schema-compatibility', SCHEMA_COMPATIBILITIES, 'what another schema must let in', {
    setting: 'schemaCompatibility',
  }),
  integer('replication-factor', 'brokers that hold each partition (1)', {
    min: 1,
    max: LIMITS.replicationFactor,
    setting: 'replicationFactor',
  }),
  integer('min-in-sync-replicas', 'how many of them a publish waits for (1)', {
    min: 1,
    max: LIMITS.replicationFactor,
    setting: 'minInSyncReplicas',
  }),
]

export const TOPIC_COMMANDS: readonly Command[] = [
  {
    path: 'topic create',
    summary: 'make a topic',
    args: [TOPIC],
    flags: [...SETTINGS, toggle('if-missing', 'leave one that is there as it is'), ...BROKER_FLAGS],
    examples: ['tidings topic create orders --partitions 4 --max-age 7d'],
    load: () => load('create'),
  },
  {
    path: 'topic update',
    summary: 'change settings of a topic; what is not given stays',
    args: [TOPIC],
    flags: [...SETTINGS, ...BROKER_FLAGS],
    examples: ['tidings topic update orders --max-age none --until-acked'],
    load: () => load('update'),
  },
  {
    path: 'topic list',
    summary: 'list the topics',
    args: [],
    flags: [toggle('names', 'only their names, one a line'), ...BROKER_FLAGS],
    examples: ['tidings topic list'],
    load: () => load('list'),
  },
  {
    path: 'topic show',
    summary: 'show the settings and partitions of a topic',
    args: [TOPIC],
    flags: BROKER_FLAGS,
    examples: ['tidings topic show orders --json'],
    load: () => load('show'),
  },
  {
    path: 'topic delete',
    summary: 'delete a topic with its messages and subscriptions',
    args: [TOPIC],
    flags: [toggle('yes', 'do not ask', { short: 'y' }), ...BROKER_FLAGS],
    examples: ['tidings topic delete orders --yes'],
    load: () => load('remove'),
  },
]
