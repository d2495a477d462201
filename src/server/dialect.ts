/**
 * What a session needs of a protocol: how requests are read and how everything else is said. Types only;
 * json-dialect.ts and binary-dialect.ts are the two. A dialect belongs to one connection and may remember what it
 * has told it, but decides nothing.
 */
import type { RequestTag, TidingsError } from '@tidings/sdk/protocol'
import type { Delivery, Gap, MessageSpan, Subscription } from '../subscription/subscription.ts'

/** What a client asks for, whatever its protocol. */
export type Request = { request?: RequestTag } & (
  | { type: 'ack' | 'release'; ids: readonly MessageSpan[] }
  | { type: 'ack'; upTo: MessageSpan }
  | { type: 'nack'; ids: readonly MessageSpan[]; delayMs?: number; reason?: string }
  | { type: 'reject'; ids: readonly MessageSpan[]; reason?: string }
  | { type: 'extend'; ids: readonly MessageSpan[]; ms: number }
  | { type: 'pause' | 'resume' | 'auth' }
)

/** Where frames go. */
export interface Outlet {
  send(frame: string | Uint8Array): void
  /** One frame of two parts; the body is not copied. */
  sendParts(head: Uint8Array, body: Uint8Array): void
  /** The connection must be made anew. */
  renew(why: string): void
}

export interface Dialect {
  /**
   * Null: it was about the protocol itself, and is done. Throws what is wrong with it; `requestOf` tells which request
   * that answers, where it can be known.
   */
  read(out: Outlet, data: string | Uint8Array): Request | null
  requestOf(thrown: unknown, data: string | Uint8Array): RequestTag | undefined
  /** The consumer has joined. */
  welcome(out: Outlet, subscription: Subscription, prefetch: number): void
  /** Sends one frame of the delivery, from that offset on. Answers the offset after it. */
  messages(out: Outlet, delivery: Delivery, from: number): number
  gap(out: Outlet, gap: Gap): void
  /** `upTo` is what the request named, where it was cumulative. */
  acked(out: Outlet, request: RequestTag, acked: readonly MessageSpan[], upTo: MessageSpan | null): void
  error(out: Outlet, error: TidingsError, request: RequestTag | undefined): void
}
