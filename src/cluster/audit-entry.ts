/**
 * What operators ordered that can lose data, `audit/<time>-<nonce>` in the coordinator's store: a codec. Written in the
 * transaction that does it, never changed, in the order of time.
 */
import { integerField, stringField } from '../base/field.ts'
import type { Entry } from './coordinator.ts'
import { decodeEntry, idField, segment } from './store-entry.ts'

const VERSION = 1

export const AUDIT = 'audit/'

export interface AuditEntry {
  /** Wall time, milliseconds. */
  readonly at: number
  /** Who ordered it. */
  readonly by: string
  readonly what: string
  readonly topicId: string
  /** What a person needs to know about it, as JSON. */
  readonly detail: unknown
}

/** Digits enough that keys are in the order of time. */
const TIME_DIGITS = 15

export function auditKey(at: number, nonce: string): string {
  return `${AUDIT}${String(at).padStart(TIME_DIGITS, '0')}-${segment(nonce)}`
}

export function encodeAudit({ at, by, what, topicId, detail }: AuditEntry): string {
  return JSON.stringify({ version: VERSION, at, by, what, topicId, detail })
}

export function decodeAudit(entry: Entry): AuditEntry {
  return decodeEntry(entry, VERSION, ['at', 'by', 'what', 'topicId', 'detail'], (fields) => ({
    at: integerField('at', fields.get('at'), 0, Number.MAX_SAFE_INTEGER),
    by: stringField('by', fields.get('by')),
    what: stringField('what', fields.get('what')),
    topicId: idField('topicId', fields.get('topicId')),
    detail: fields.get('detail') ?? null,
  }))
}
