/**
 * The frames of `tidings.json.v1`: what each side may send on a subscription's WebSocket, one JSON
 * object a text frame. The client's frames are checked here, whole, before anybody acts on one.
 */
import { TidingsError } from './errors.ts'
import * as LIMITS from './limits.ts'
import { type MessageId, type MessageJson, parseMessageId } from './message.ts'

/** Echoed in the answer to a frame that carried it. */
export type RequestTag = string | number

export type ServerFrame =
  | ({ type: 'message' } & MessageJson)
  | { type: 'acked'; request: RequestTag; ids?: string[]; upTo?: string }
  | { type: 'error'; code: string; detail: string; request?: RequestTag }
  | { type: 'gap'; topic: string; partition: number; from: number; to: number }

export type ClientFrame =
  | { type: 'ack'; ids: MessageId[]; request?: RequestTag }
  | { type: 'ack'; upTo: MessageId; request?: RequestTag }
  | { type: 'nack'; ids: MessageId[]; delayMs?: number; reason?: string; request?: RequestTag }
  | { type: 'extend'; ids: MessageId[]; ms: number; request?: RequestTag }
  | { type: 'release'; ids: MessageId[]; request?: RequestTag }
  | { type: 'reject'; ids: MessageId[]; reason?: string; request?: RequestTag }
  | { type: 'pause'; request?: RequestTag }
  | { type: 'resume'; request?: RequestTag }
  | { type: 'auth'; token: string; request?: RequestTag }

/**
 * A client's text frame, checked. Throws `invalid_argument`; `requestOf` gives the tag to answer
 * with, where one could be read.
 */
export function parseClientFrame(text: string): ClientFrame {
  const frame = parseObject(text)
  const request = requestTag(frame['request'])
  const tagged = request === undefined ? {} : { request }
  switch (frame['type']) {
    case 'ack':
      if (frame['upTo'] !== undefined) {
        if (frame['ids'] !== undefined) throw invalid('ack: give "ids" or "upTo", not both', request)
        return { type: 'ack', upTo: tag(request, () => parseMessageId(frame['upTo'])), ...tagged }
      }
      return { type: 'ack', ids: idList(frame, request), ...tagged }
    case 'nack': {
      const delayMs = optionalMs(frame['delayMs'], 'delayMs', request)
      return { type: 'nack', ids: idList(frame, request), ...delay(delayMs), ...reason(frame, request), ...tagged }
    }
    case 'extend': {
      const ms = optionalMs(frame['ms'], 'ms', request)
      if (ms === undefined) throw invalid('extend: "ms" is missing', request)
      return { type: 'extend', ids: idList(frame, request), ms, ...tagged }
    }
    case 'release':
      return { type: 'release', ids: idList(frame, request), ...tagged }
    case 'reject':
      return { type: 'reject', ids: idList(frame, request), ...reason(frame, request), ...tagged }
    case 'pause':
      return { type: 'pause', ...tagged }
    case 'resume':
      return { type: 'resume', ...tagged }
    case 'auth':
      if (typeof frame['token'] !== 'string') throw invalid('auth: "token" must be a string', request)
      return { type: 'auth', token: frame['token'], ...tagged }
    default:
      throw invalid(`unknown frame type ${clip(frame['type'])}`, request)
  }
}

/** The request tag that an error of parseClientFrame belongs to. */
export function requestOf(error: unknown): RequestTag | undefined {
  return error instanceof FrameError ? error.request : undefined
}

class FrameError extends TidingsError {
  readonly request: RequestTag | undefined
  constructor(detail: string, request: RequestTag | undefined) {
    super('invalid_argument', detail)
    this.request = request
  }
}

function parseObject(text: string): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw invalid('the frame is not JSON', undefined)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalid('the frame must be one JSON object', undefined)
  }
  return value as Record<string, unknown>
}

function requestTag(value: unknown): RequestTag | undefined {
  if (value === undefined || value === null) return undefined
  if (typeof value === 'string' && value.length <= 200) return value
  if (typeof value === 'number') return value
  throw invalid('"request" must be a number or a string of at most 200 characters', undefined)
}

function idList(frame: Record<string, unknown>, request: RequestTag | undefined): MessageId[] {
  const ids = frame['ids']
  if (!Array.isArray(ids)) throw invalid(`${clip(frame['type'])}: "ids" must be a list of message ids`, request)
  if (ids.length > LIMITS.idsPerFrame) throw invalid(`at most ${LIMITS.idsPerFrame} ids a frame`, request)
  return tag(request, () => ids.map(parseMessageId))
}

function reason(frame: Record<string, unknown>, request: RequestTag | undefined): { reason?: string } {
  const text = frame['reason']
  if (text === undefined || text === null) return {}
  if (typeof text !== 'string') throw invalid('"reason" must be a string', request)
  return { reason: text.slice(0, LIMITS.reasonBytes) }
}

function delay(delayMs: number | undefined): { delayMs?: number } {
  return delayMs === undefined ? {} : { delayMs }
}

function optionalMs(value: unknown, name: string, request: RequestTag | undefined): number | undefined {
  if (value === undefined || value === null) return undefined
  if (Number.isInteger(value) && (value as number) >= 0 && (value as number) <= LIMITS.delayMs) return value as number
  throw invalid(`"${name}" must be a whole number of milliseconds from 0 to ${LIMITS.delayMs}`, request)
}

function tag<T>(request: RequestTag | undefined, parse: () => T): T {
  try {
    return parse()
  } catch (error) {
    throw invalid((error as Error).message, request)
  }
}

function invalid(detail: string, request: RequestTag | undefined): FrameError {
  return new FrameError(detail, request)
}

function clip(value: unknown): string {
  const text = JSON.stringify(value) ?? 'undefined'
  return text.length > 60 ? `${text.slice(0, 60)}…` : text
}
