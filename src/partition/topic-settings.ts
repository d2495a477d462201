/**
 * What a topic's settings become when a request asks to change them: a decision. The patch is the
 * request's JSON body, unchecked; a key that it leaves out keeps its value (its default for a new
 * topic). The result is always a complete, valid and fresh object; anything else is `invalid_argument`,
 * or `conflict` where the request is well formed but the topic that exists does not allow it.
 */
import {
  type JsonSchema,
  LIMITS,
  SCHEMA_COMPATIBILITIES,
  TidingsError,
  TOPIC_DEFAULTS,
  type TopicSettings,
} from '@tidings/sdk/protocol'
import { booleanField, fieldsOf, integerField, invalidField, nullable, oneOfField } from '../base/field.ts'
import { compileSchema } from './schema.ts'
import { incompatibilityOf } from './schema-compatibility.ts'

const KEYS = Object.keys(TOPIC_DEFAULTS)
const RETENTION_KEYS = Object.keys(TOPIC_DEFAULTS.retention)
const DURABILITIES: readonly TopicSettings['durability'][] = ['fsync', 'buffered']

/** How many copies topics have whose makers do not say. */
export type Copies = Pick<TopicSettings, 'replicationFactor' | 'minInSyncReplicas'>

/** The settings after the patch. `current` is null for a topic that does not exist yet. */
export function mergeTopicSettings(
  current: TopicSettings | null,
  patch: unknown,
  copies: Copies = TOPIC_DEFAULTS,
): TopicSettings {
  const fields = fieldsOf('topic settings', patch === undefined ? {} : patch, KEYS)
  const base = current ?? { ...TOPIC_DEFAULTS, ...copies }
  const integer = (key: IntegerKey, least: number, most: number): number =>
    fields.has(key) ? integerField(key, fields.get(key), least, most) : base[key]
  const flag = (key: 'compact' | 'expireWithSubscriptions'): boolean =>
    fields.has(key) ? booleanField(key, fields.get(key)) : base[key]
  const settings: TopicSettings = {
    partitions: integer('partitions', 1, LIMITS.partitions),
    replicationFactor: integer('replicationFactor', 1, LIMITS.replicationFactor),
    minInSyncReplicas: integer('minInSyncReplicas', 1, LIMITS.replicationFactor),
    retention: mergeRetention(base.retention, fields.get('retention')),
    durability: fields.has('durability')
      ? oneOfField('durability', fields.get('durability'), DURABILITIES)
      : base.durability,
    maxMessageBytes: integer('maxMessageBytes', 1, LIMITS.messageBytesCeiling),
    deduplicationWindowMs: integer('deduplicationWindowMs', 0, LIMITS.delayMs),
    segmentBytes: integer('segmentBytes', LIMITS.segmentBytesFloor, LIMITS.segmentBytesCeiling),
    compact: flag('compact'),
    tombstoneMs: integer('tombstoneMs', 0, Number.MAX_SAFE_INTEGER),
    schema: fields.has('schema') ? nullable(fields.get('schema'), schemaField) : base.schema,
    schemaCompatibility: fields.has('schemaCompatibility')
      ? oneOfField('schemaCompatibility', fields.get('schemaCompatibility'), SCHEMA_COMPATIBILITIES)
      : base.schemaCompatibility,
    expireWithSubscriptions: flag('expireWithSubscriptions'),
  }
  if (current === null && !fields.has('minInSyncReplicas') && fields.has('replicationFactor')) {
    settings.minInSyncReplicas = Math.min(settings.minInSyncReplicas, settings.replicationFactor)
  }
  if (settings.minInSyncReplicas > settings.replicationFactor) {
    throw new TidingsError(
      'invalid_argument',
      `minInSyncReplicas: ${settings.minInSyncReplicas} is more than replicationFactor ${settings.replicationFactor}`,
    )
  }
  if (current && settings.partitions < current.partitions) {
    throw new TidingsError(
      'conflict',
      `partitions: the topic has ${current.partitions} and partitions never shrink (asked for ${settings.partitions}); ` +
        'publish to a new topic instead',
    )
  }
  return settings
}

/**
 * As `mergeTopicSettings`, for what comes from a client: a schema must compile, and one that takes the place
 * of another must let in what that one did, unless `schemaCompatibility` is none: else `conflict`.
 * @param cluster what a cluster's topics have where nobody says; null: the broker is alone, and one copy is all there is
 */
export function acceptTopicSettings(
  current: TopicSettings | null,
  patch: unknown,
  cluster: Copies | null = null,
): TopicSettings {
  const settings = mergeTopicSettings(current, patch, cluster ?? undefined)
  if (!cluster) refuseCopies(settings)
  const before = current?.schema ?? null
  const { schema, schemaCompatibility } = settings
  if (schema === null || (before !== null && JSON.stringify(before) === JSON.stringify(schema))) return settings
  compileSchema(schema)
  if (before === null || schemaCompatibility === 'none') return settings
  const problem = incompatibilityOf(before, schema)
  if (!problem) return settings
  throw new TidingsError(
    'conflict',
    `schema${problem.path === '' ? '' : ` at ${problem.path}`}: not sure to admit all that the present one admits (${problem.why}); ` +
      'with "schemaCompatibility":"none" it is taken all the same',
  )
}

type IntegerKey =
  | 'partitions'
  | 'replicationFactor'
  | 'minInSyncReplicas'
  | 'maxMessageBytes'
  | 'deduplicationWindowMs'
  | 'segmentBytes'
  | 'tombstoneMs'

type Retention = TopicSettings['retention']

function mergeRetention(base: Retention, patch: unknown): Retention {
  if (patch === undefined) return { ...base }
  const fields = fieldsOf('retention', patch, RETENTION_KEYS)
  const bound = (key: 'maxAgeMs' | 'maxBytes'): number | null =>
    fields.has(key)
      ? nullable(fields.get(key), (value) => integerField(`retention.${key}`, value, 1, Number.MAX_SAFE_INTEGER))
      : base[key]
  return {
    maxAgeMs: bound('maxAgeMs'),
    maxBytes: bound('maxBytes'),
    untilAcked: fields.has('untilAcked')
      ? booleanField('retention.untilAcked', fields.get('untilAcked'))
      : base.untilAcked,
  }
}

/** An object; whether it is a schema is for whoever compiles it. */
function schemaField(value: unknown): JsonSchema {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalidField('schema', 'a JSON Schema (an object), or null', value)
  }
  if (Buffer.byteLength(JSON.stringify(value)) <= LIMITS.schemaBytes) return value as JsonSchema
  throw new TidingsError('invalid_argument', `schema: it may have ${LIMITS.schemaBytes} bytes at most`)
}

/** A broker that is alone cannot keep what more copies promise: better refused than silently not done. */
function refuseCopies(settings: TopicSettings): void {
  if (settings.replicationFactor > 1) {
    throw new TidingsError(
      'invalid_argument',
      'replicationFactor: one broker alone holds one copy, so only 1 is accepted; for more start brokers with --etcd',
    )
  }
}
