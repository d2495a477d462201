/**
 * The catalog's keys and values in the coordinator's store: a codec. Keys are
 *   topics/<name>   subscriptions/<topicId or pattern>/<name>   tombstones/<topicId>
 * and values as store-entry.ts says.
 */
import { checkPattern, isPattern, type SubscriptionSettings, type TopicSettings } from '@tidings/sdk/protocol'
import { stringField } from '../base/field.ts'
import { mergeTopicSettings } from '../partition/topic-settings.ts'
import { mergeSubscriptionSettings } from '../subscription/subscription-settings.ts'
import type { Entry } from './coordinator.ts'
import { decodeEntry, expectKey, type Fields, idField, listField, nodeIdField, segment } from './store-entry.ts'

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
  /** The brokers that may still have files of it; none on one node, whose broker is meant then. */
  readonly holders: readonly string[]
}

export const topicKey = (name: string): string => `${TOPICS}${segment(name)}`
export const tombstoneKey = (topicId: string): string => `${TOMBSTONES}${segment(topicId)}`
export const subscriptionsPrefix = (topicId: string): string => `${SUBSCRIPTIONS}${segment(topicId)}/`
export const subscriptionKey = (topicId: string, name: string): string =>
  `${subscriptionsPrefix(topicId)}${segment(name)}`

/** The nonce names the write, so that its writer knows it again when the answer was lost. */
export function encodeTopic({ id, name, settings }: CatalogTopic, nonce: string): string {
  return JSON.stringify({ version: VERSION, nonce, id, name, settings })
}

export function decodeTopic(entry: Entry): CatalogTopic {
  return decode(entry, ['nonce', 'id', 'name', 'settings'], (fields) => {
    const id = idField('id', fields.get('id'))
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
    const id = idField('id', fields.get('id'))
    const topicId = ownerField(fields.get('topicId'))
    const name = stringField('name', fields.get('name'))
    expectKey(entry, subscriptionKey(topicId, name))
    return { id, topicId, name, settings: mergeSubscriptionSettings(null, fields.get('settings') ?? null) }
  })
}

export function encodeTombstone({ id, name, holders }: Tombstone): string {
  return JSON.stringify({ version: VERSION, id, name, ...(holders.length > 0 && { holders }) })
}

export function decodeTombstone(entry: Entry): Tombstone {
  return decode(entry, ['id', 'name', 'holders'], (fields) => {
    const id = idField('id', fields.get('id'))
    expectKey(entry, tombstoneKey(id))
    const holders = listField('holders', fields.get('holders') ?? [], nodeIdField)
    return { id, name: stringField('name', fields.get('name')), holders }
  })
}

function ownerField(value: unknown): string {
  return typeof value === 'string' && isPattern(value) ? checkPattern(value) : idField('id', value)
}

function decode<T>(entry: Entry, keys: readonly string[], read: (fields: Fields) => T): T {
  return decodeEntry(entry, VERSION, keys, read)
}
