/**
 * What is said to etcd's JSON gateway (v3, as of etcd 3.4) and what it says: a codec. Keys and values are base64 of
 * UTF-8, whole numbers of 64 bits are strings, and what is zero, empty or false is left out. All keys of ours lie under
 * one prefix, which is put before them here and taken off again.
 *
 * What must stay true: an answer is checked like any input, since somebody else may write under our prefix, and a
 * proxy may stand in between: what is not understood is an AnswerError, and never half an answer.
 */
import { shown } from '../base/field.ts'
import type { Change, Entry, Guard, Write } from './coordinator.ts'

/** An answer that is none of etcd's, or holds what is none of ours. */
export class AnswerError extends Error {
  override readonly name = 'AnswerError'
}

/** Where an answer comes from, and at which revision of the whole store it was true. */
export interface Header {
  clusterId: string
  revision: number
}

/** What etcd says instead of doing it: a code of gRPC, and a sentence for people. */
export interface Refusal {
  code: number
  message: string
}

/** One message of a watch. `more`: the next one belongs to the same revision. */
export type WatchMessage =
  | { kind: 'created' }
  | { kind: 'changes'; changes: Change[]; revision: number; more: boolean }
  /** Compacted: what came between was not kept. */
  | { kind: 'lost' }
  | { kind: 'ended'; reason: string }

/** Ends a range that holds every key from its start on. */
const NO_END = '\0'

export class EtcdCodec {
  readonly #prefix: string

  /** What every key of ours starts with. */
  constructor(prefix: string) {
    this.#prefix = prefix
  }

  getRequest(key: string): string {
    return JSON.stringify({ key: this.#key(key) })
  }

  /** A page of the keys with the prefix, from `after` on (exclusive); `revision` 0 means now. */
  listRequest(prefix: string, page: { limit: number; after: string | null; revision: number }): string {
    const { start, end } = this.#range(prefix)
    // The smallest key after another is that one with a zero byte behind it.
    const key = page.after === null ? start : this.#key(`${page.after}\0`)
    return JSON.stringify({ key, range_end: end, limit: String(page.limit), revision: String(page.revision) })
  }

  /** Asks only whether etcd answers, and where it stands. */
  probeRequest(): string {
    const { start, end } = this.#range('')
    return JSON.stringify({ key: start, range_end: end, limit: '1', keys_only: true })
  }

  transactRequest(guards: readonly Guard[], writes: readonly Write[]): string {
    const compare = guards.map((guard) => ({
      key: this.#key(guard.key),
      result: 'EQUAL',
      ...('modRevision' in guard
        ? { target: 'MOD', mod_revision: String(guard.modRevision) }
        : { target: 'CREATE', create_revision: String(guard.createRevision) }),
    }))
    return JSON.stringify({ compare, success: writes.map((write) => this.#operation(write)) })
  }

  watchRequest(prefix: string, afterRevision: number): string {
    const { start, end } = this.#range(prefix)
    const create = {
      key: start,
      range_end: end,
      start_revision: String(afterRevision + 1),
      progress_notify: true,
      fragment: true,
    }
    return JSON.stringify({ create_request: create })
  }

  /** The entries of a `get` or of a page of a list, and whether there are more. */
  decodeRange(answer: unknown): { entries: Entry[]; more: boolean } {
    const object = objectOf(answer)
    const entries = arrayOf(object['kvs']).map((kv) => this.#entry(kv))
    return { entries, more: object['more'] === true }
  }

  decodeTransact(answer: unknown): { ok: boolean; revision: number } {
    return { ok: objectOf(answer)['succeeded'] === true, revision: decodeHeader(answer).revision }
  }

  /** One line of a watch's answer. */
  decodeWatch(line: unknown): WatchMessage {
    const { result: wrapped, error } = objectOf(line)
    if (error !== undefined) return { kind: 'ended', reason: decodeRefusal(error).message }
    const result = objectOf(wrapped)
    if (integerOf(result['compact_revision']) > 0) return { kind: 'lost' }
    if (result['canceled'] === true) return { kind: 'ended', reason: textOf(result['cancel_reason']) }
    if (result['created'] === true) return { kind: 'created' }
    const changes = arrayOf(result['events']).map((event) => this.#change(event))
    const more = result['fragment'] === true
    // The header says how far this member has come, which may be further than these events: they follow then. Without
    // events it is a notice of progress, and all up to there has been told.
    const last = changes.at(-1)
    const revision = last ? revisionOf(last) : decodeHeader(result).revision
    return { kind: 'changes', changes, revision, more }
  }

  #operation(write: Write): object {
    if ('deleteUnder' in write) {
      const { start, end } = this.#range(write.deleteUnder)
      return { request_delete_range: { key: start, range_end: end } }
    }
    if ('delete' in write) return { request_delete_range: { key: this.#key(write.delete) } }
    const lease = write.lease === undefined ? {} : { lease: write.lease }
    return { request_put: { key: this.#key(write.put), value: base64(write.value), ...lease } }
  }

  #change(event: unknown): Change {
    const { type = 'PUT', kv } = objectOf(event)
    if (type === 'PUT') return { put: this.#entry(kv) }
    if (type !== 'DELETE') throw new AnswerError(`etcd tells of an event ${shown(type)}, which it never had`)
    const { key, mod_revision: revision } = objectOf(kv)
    return { deleted: this.#ownKey(key), revision: revisionFrom(revision) }
  }

  #entry(kv: unknown): Entry {
    const { key, value, create_revision, mod_revision, lease } = objectOf(kv)
    const hangsOn = lease === undefined || lease === '0' ? null : textOf(lease)
    return {
      key: this.#ownKey(key),
      value: fromBase64(value),
      createRevision: revisionFrom(create_revision),
      modRevision: revisionFrom(mod_revision),
      lease: hangsOn,
    }
  }

  #key(key: string): string {
    return base64(this.#prefix + key)
  }

  #ownKey(encoded: unknown): string {
    const key = fromBase64(encoded)
    if (!key.startsWith(this.#prefix)) throw new AnswerError(`etcd answers with the key ${shown(key)}: not asked for`)
    return key.slice(this.#prefix.length)
  }

  #range(prefix: string): { start: string; end: string } {
    const bytes = Buffer.from(this.#prefix + prefix)
    if (bytes.length === 0) return { start: base64(NO_END), end: base64(NO_END) }
    const start = bytes.toString('base64')
    // The first key behind the prefix. No byte of UTF-8 is 0xff, so there is no carry.
    bytes[bytes.length - 1]!++
    return { start, end: bytes.toString('base64') }
  }
}

/** etcd counts whole seconds, and never fewer than asked for. */
export function grantRequest(ttlMs: number): string {
  return JSON.stringify({ TTL: String(Math.ceil(ttlMs / 1000)) })
}

export function leaseRequest(lease: string): string {
  return JSON.stringify({ ID: lease })
}

export function authenticateRequest(user: string, password: string): string {
  return JSON.stringify({ name: user, password })
}

/** The id is one that etcd could have given: it takes others for malformed requests. */
export function isLease(lease: string): boolean {
  return /^[1-9]\d{0,18}$/.test(lease) && BigInt(lease) < 2n ** 63n
}

/** The object in an answer's body, whatever it says; throws AnswerError. */
export function parseAnswer(body: string): unknown {
  try {
    return objectOf(JSON.parse(body))
  } catch (error) {
    throw new AnswerError(`it answers ${JSON.stringify(body.slice(0, 200))}, which is no JSON of etcd's`, {
      cause: error,
    })
  }
}

export function decodeHeader(answer: unknown): Header {
  const header = objectOf(objectOf(answer)['header'])
  return { clusterId: textOf(header['cluster_id']), revision: revisionFrom(header['revision']) }
}

export function decodeGrant(answer: unknown): string {
  const lease = textOf(objectOf(answer)['ID'])
  if (!isLease(lease)) throw new AnswerError(`etcd grants the lease ${shown(lease)}, which is none`)
  return lease
}

/** Whether the lease lives on. The answer is the first message of a stream. */
export function decodeKeepAlive(answer: unknown): boolean {
  return integerOf(objectOf(objectOf(answer)['result'])['TTL']) > 0
}

export function decodeToken(answer: unknown): string {
  const token = textOf(objectOf(answer)['token'])
  if (!/^[\x21-\x7e]+$/.test(token)) throw new AnswerError('etcd answers a login without a token')
  return token
}

/** The error in an answer, which older and newer gateways, and streams, write in different ways. */
export function decodeRefusal(answer: unknown): Refusal {
  const object = objectOf(answer)
  const inner = object['error']
  const error = typeof inner === 'object' && inner !== null ? objectOf(inner) : object
  const code = error['code'] ?? error['grpc_code']
  if (typeof code !== 'number') throw new AnswerError(`it answers ${shown(answer)}, which is no error of etcd's`)
  return { code, message: textOf(error['message'] ?? '') }
}

export function revisionOf(change: Change): number {
  return 'put' in change ? change.put.modRevision : change.revision
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64')
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function fromBase64(encoded: unknown): string {
  const bytes = Buffer.from(textOf(encoded ?? ''), 'base64')
  try {
    return utf8.decode(bytes)
  } catch (error) {
    const text = shown(bytes.toString('latin1'))
    throw new AnswerError(`etcd holds ${text} under the prefix, which is no text: somebody else writes there`, {
      cause: error,
    })
  }
}

function objectOf(value: unknown): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new AnswerError(`it answers ${shown(value)} where etcd answers an object`)
  }
  return value as Record<string, unknown>
}

function arrayOf(value: unknown): unknown[] {
  if (value === undefined) return []
  if (!Array.isArray(value)) throw new AnswerError(`it answers ${shown(value)} where etcd answers a list`)
  return value as unknown[]
}

function textOf(value: unknown): string {
  if (typeof value !== 'string') throw new AnswerError(`it answers ${shown(value)} where etcd answers a text`)
  return value
}

/** A whole number in a string; 0 when it is left out. */
function integerOf(value: unknown): number {
  if (value === undefined) return 0
  const number = Number(textOf(value))
  if (!Number.isSafeInteger(number)) throw new AnswerError(`it answers ${shown(value)} where etcd answers a number`)
  return number
}

function revisionFrom(value: unknown): number {
  const revision = integerOf(value)
  if (revision < 1) throw new AnswerError(`it answers the revision ${shown(value)}, which is none`)
  return revision
}
