/**
 * `tidings.json.v1`: one JSON object a text frame, one message a frame. Without state; session.ts speaks it.
 */
import {
  formatMessageId,
  type MessageId,
  parseClientFrame,
  type RequestTag,
  requestOf,
  type ServerFrame,
  TidingsError,
} from '@tidings/sdk/protocol'
import type { Delivery, Gap, MessageSpan } from '../subscription/subscription.ts'
import type { Dialect, Outlet, Request } from './dialect.ts'
import { messageFrame } from './message-json.ts'

export const jsonDialect: Dialect = {
  read(_out: Outlet, data: string | Uint8Array): Request {
    if (typeof data === 'string') return parseClientFrame(data)
    throw new TidingsError('invalid_argument', 'this protocol has text frames only')
  },

  requestOf: (thrown) => requestOf(thrown),

  welcome: () => undefined,

  messages(out: Outlet, delivery: Delivery, from: number): number {
    out.send(messageFrame(delivery, delivery.batch, from, delivery.attempt))
    return from + 1
  },

  gap(out: Outlet, gap: Gap): void {
    say(out, { type: 'gap', ...gap })
  },

  acked(out: Outlet, request: RequestTag, acked: readonly MessageSpan[], upTo: MessageSpan | null): void {
    const cumulative = upTo === null ? {} : { upTo: idText(upTo) }
    say(out, { type: 'acked', request, ids: acked.map(idText), ...cumulative })
  },

  error(out: Outlet, { code, message }: TidingsError, request: RequestTag | undefined): void {
    say(out, { type: 'error', code, detail: message, ...(request === undefined ? {} : { request }) })
  },
}

function say(out: Outlet, frame: ServerFrame): void {
  out.send(JSON.stringify(frame))
}

function idText(id: MessageId): string {
  const text = formatMessageId(id.partition, id.offset)
  return id.topic === undefined ? text : `${id.topic}/${text}`
}
