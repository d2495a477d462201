/**
 * The catalog's keys and values in the coordinator's store: a codec. Keys are
 *   topics/<name>   subscriptions/<topicId or pattern>/<name>   tombstones/<topicId>   brokers/<nodeId>
 * and values JSON objects with a `version`. What is read is checked like any input, since the store
 * outlives releases and can be damaged; ids in particular, because they become names of directories.
 */
import {
  checkPattern,
  isPattern,
  type SubscriptionSettings,
  TidingsError,
  type TopicSettings,
} from '@tidings/sdk/protocol'
import { fieldsOf, integerField, shown, stringField } from '../base/field.ts'
import { assert } from '../base/invariant.ts'
import { mergeTopicSettings } from '../partition/topic-settings.ts'
import { mergeSubscriptionSettings } from '../subscription/subscription-settings.ts'
import type { Entry } from './coordinator.ts'

/** Raised when a value of this layout would be misread by the release before. */
const VERSION = 1

export const TOPICS = 'topics/'
export const SUBSCRIPTIONS = 'subscriptions/'
export const TOMBSTONES = 'tombstones/'

export interface CatalogTopic {
  readonly id: string
  readonly name: string
  readonly settings: TopicSettings
}

export interface CatalogSubscription {
  readonly id: string
  /** The id of its topic, or the pattern that it follows: no id has a star. */
  readonly topicId: string
  readonly name: string
  readonly settings: SubscriptionSettings
}

/** A topic that is deleted while its files are still to be removed. */
export interface Tombstone {
  readonly id: string
  readonly name: string
}

export const topicKey = (name: string): string => `${TOPICS}${segment(name)}`
export const tombstoneKey = (topicId: string): string => `${TOMBSTONES}${segment(topicId)}`
export const brokerKey = (nodeId: string): string => `brokers/${segment(nodeId)}`
export const subscriptionsPrefix = (topicId: string): string => `${SUBSCRIPTIONS}${segment(topicId)}/`
export const subscriptionKey = (topicId: string, name: string): string =>
  `${subscriptionsPrefix(topicId)}${segment(name)}`

/** Names are checked before they come here; a slash would reach into another's keys. */
function segment(text: string): string {
  assert(text !== '' && !text.includes('/'), `${shown(text)} is one segment of a key`)
  return text
}

/** The nonce names the write, so that its writer knows it again when the answer was lost. */
export function encodeTopic({ id, name, settings }: CatalogTopic, nonce: string): string {
  return JSON.stringify({ version: VERSION, nonce, id, name, settings })
}

export function decodeTopic(entry: Entry): CatalogTopic {
  return decode(entry, ['nonce', 'id', 'name', 'settings'], (fields) => {
    const id = idField(fields.get('id'))
    const name = stringField('name', fields.get('name'))
    expectKey(entry, topicKey(name))
    return { id, name, settings: mergeTopicSettings(null, fields.get('settings') ?? null) }
  })
}

export function encodeSubscription({ id, topicId, name, settings }: CatalogSubscription, nonce: string): string {
  return JSON.stringify({ version: VERSION, nonce, id, topicId, name, settings })
}

export function decodeSubscription(entry: Entry): CatalogSubscription {
  return decode(entry, ['nonce', 'id', 'topicId', 'name', 'settings'], (fields) => {
    const id = idField(fields.get('id'))
    const topicId = ownerField(fields.get('topicId'))
    const name = stringField('name', fields.get('name'))
    expectKey(entry, subscriptionKey(topicId, name))
    return { id, topicId, name, settings: mergeSubscriptionSettings(null, fields.get('settings') ?? null) }
  })
}

export function encodeTombstone({ id, name }: Tombstone): string {
  return JSON.stringify({ version: VERSION, id, name })
}

export function decodeTombstone(entry: Entry): Tombstone {
  return decode(entry, ['id', 'name'], (fields) => {
    const id = idField(fields.get('id'))
    expectKey(entry, tombstoneKey(id))
    return { id, name: stringField('name', fields.get('name')) }
  })
}

export function encodeBroker(nodeId: string, nonce: string): string {
  return JSON.stringify({ version: VERSION, nonce, id: nodeId })
}

/** Whether the entry is as the write with the nonce left it. */
export function isWriteOf(entry: Entry, nonce: string): boolean {
  const value = parse(entry)
  return typeof value === 'object' && value !== null && 'nonce' in value && value.nonce === nonce
}

const ID = /^[A-Za-z0-9_-]{1,64}$/

function idField(value: unknown): string {
  const id = stringField('id', value)
  if (!ID.test(id)) throw new TidingsError('invalid_argument', `id: ${shown(id)} is none`)
  return id
}

function ownerField(value: unknown): string {
  return typeof value === 'string' && isPattern(value) ? checkPattern(value) : idField(value)
}

function expectKey(entry: Entry, key: string): void {
  if (entry.key !== key) throw new TidingsError('invalid_argument', `the value belongs to ${shown(key)}`)
}

function decode<T>(entry: Entry, keys: readonly string[], read: (fields: ReadonlyMap<string, unknown>) => T): T {
  const value = parse(entry)
  const version = typeof value === 'object' && value !== null && 'version' in value ? value.version : undefined
  if (typeof version === 'number' && version > VERSION) {
    throw new TidingsError(
      'internal',
      `the store's entry ${shown(entry.key)} was written by a newer release (layout ${version}, this one reads ${VERSION}): ` +
        'start that release again',
    )
  }
  try {
    const fields = fieldsOf('entry', value, ['version', ...keys])
    integerField('version', fields.get('version'), VERSION, VERSION)
    return read(fields)
  } catch (error) {
    throw damaged(entry, error instanceof Error ? error.message : String(error), error)
  }
}

function parse(entry: Entry): unknown {
  try {
    return JSON.parse(entry.value)
  } catch (error) {
    throw damaged(entry, 'it is no JSON', error)
  }
}

function damaged(entry: Entry, why: string, cause: unknown): TidingsError {
  const detail = `the store's entry ${shown(entry.key)} cannot be read (${why}): it is damaged, or another release wrote it`
  return new TidingsError('internal', detail, { cause })
}
