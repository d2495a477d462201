/**
 * What a consumer asks for in the URL of its stream: checked as a whole before the upgrade, so that a
 * mistake is answered in plain HTTP. Pure; called by websocket.ts.
 */
import {
  checkName,
  checkTopicOrPattern,
  DEFAULT_PREFETCH,
  LIMITS,
  type Position,
  parseTimestamp,
  SUBSCRIPTION_TYPES,
  TidingsError,
} from '@tidings/sdk/protocol'
import { integerText, invalid, queryOf } from './json-request.ts'

export interface StreamRequest {
  topic: string
  subscription: string
  /** Settings for the subscription's creation; an existing one keeps its own. */
  patch: { type?: string; start?: Position; ackDeadlineMs?: number }
  prefetch: number
  consumer: string
  weight: number
}

const PATH = /^\/v1\/topics\/([^/]+)\/subscriptions\/([^/]+)\/stream$/
const PARAMETERS = ['type', 'start', 'ackDeadlineMs', 'prefetch', 'consumer', 'weight', 'access_token']

/** Throws `not_found` for a path that is no stream's, `invalid_argument` for what is wrong with one that is. */
export function parseStreamRequest(url: string): StreamRequest {
  const question = url.indexOf('?')
  const match = PATH.exec(question === -1 ? url : url.slice(0, question))
  if (!match) throw new TidingsError('not_found', 'there is no WebSocket at this path')
  const query = queryOf(parseQuery(question === -1 ? '' : url.slice(question + 1)), PARAMETERS)
  const [type, start, ackDeadlineMs, prefetch, consumer, weight] = PARAMETERS.map((name) => query.get(name))
  const patch: StreamRequest['patch'] = {}
  if (type !== undefined) patch.type = typeOf(type)
  if (start !== undefined) patch.start = startOf(start)
  if (ackDeadlineMs !== undefined) patch.ackDeadlineMs = integerText('ackDeadlineMs', ackDeadlineMs, 1, LIMITS.delayMs)
  return {
    topic: checkTopicOrPattern(decode(match[1]!)),
    subscription: checkName('subscription', decode(match[2]!)),
    patch,
    prefetch: prefetch === undefined ? DEFAULT_PREFETCH : integerText('prefetch', prefetch, 1, LIMITS.prefetch),
    consumer: consumerName(consumer ?? ''),
    weight: weight === undefined ? 1 : integerText('weight', weight, 1, LIMITS.weight),
  }
}

function parseQuery(text: string): Record<string, string | string[]> {
  const values: Record<string, string | string[]> = {}
  for (const [name, value] of new URLSearchParams(text)) {
    const before = Object.hasOwn(values, name) ? values[name]! : undefined
    Object.defineProperty(values, name, {
      value: before === undefined ? value : [before, value].flat(),
      enumerable: true,
      configurable: true,
    })
  }
  return values
}

function typeOf(text: string): string {
  if ((SUBSCRIPTION_TYPES as readonly string[]).includes(text)) return text
  throw invalid(`"type" must be one of ${SUBSCRIPTION_TYPES.join(', ')}`)
}

function startOf(text: string): Position {
  if (text === 'earliest' || text === 'latest') return text
  if (parseTimestamp(text) !== null) return { timestamp: text }
  throw invalid('"start" must be earliest, latest or an RFC 3339 time')
}

function consumerName(name: string): string {
  if (Buffer.byteLength(name) <= LIMITS.consumerNameBytes) return name
  throw invalid(`"consumer" may have at most ${LIMITS.consumerNameBytes} bytes`)
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    throw invalid('the path is not a valid URL path')
  }
}
