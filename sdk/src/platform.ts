/**
 * What the client takes from its surroundings: time, chance, HTTP and WebSockets, as ports. `node-platform.ts`
 * and `browser-platform.ts` fill them in, tests play them. Everything else in this package is the same everywhere.
 */

export interface Timer {
  cancel(): void
}

export interface Clock {
  /** Wall time, milliseconds since the epoch: only for what others stamped with theirs, such as a token's end. */
  now(): number
  /** Milliseconds that never go back. */
  monotonic(): number
  /** Calls `fire` once, `delayMs` from now at the earliest. */
  after(delayMs: number, fire: () => void): Timer
  /** Calls `run` once, after the events that have already arrived. */
  soon(run: () => void): void
}

export interface Random {
  /** From 0 to 2^32 - 1, each as likely. */
  uint32(): number
  /** A name that nobody else has. */
  id(): string
}

export interface HttpRequest {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  url: string
  headers: Record<string, string>
  body?: string
  timeoutMs: number
}

export type HttpOutcome =
  | { kind: 'answer'; status: number; retryAfter: string | null; body: string }
  /** No whole answer came. `sent` is false when it is certain that the broker never saw the request. */
  | { kind: 'lost'; sent: boolean; cause: unknown }

export interface Http {
  /** Calls back exactly once, never before it returns. */
  send(request: HttpRequest, done: (outcome: HttpOutcome) => void): void
  /** Ends all connections; what is under way is lost. */
  close(): void
}

/** How a WebSocket ended, or why it never opened. */
export type SocketEnd =
  | { kind: 'closed'; code: number; reason: string }
  /** The upgrade was answered with this instead. Browsers do not show it: they give `lost`. */
  | { kind: 'refused'; status: number; retryAfter: string | null; body: string }
  | { kind: 'lost'; cause: unknown }

/** Called by a socket; `ended` comes exactly once, and nothing after it. */
export interface SocketEvents {
  opened(): void
  text(data: string): void
  bytes(data: Uint8Array): void
  /** A ping or pong, where the platform shows them. */
  alive(): void
  ended(end: SocketEnd): void
}

export interface Socket {
  send(data: string | Uint8Array): void
  /** The closing handshake. */
  close(code: number, reason: string): void
  /** Ends it without one. `ended` may or may not come. */
  terminate(): void
}

export interface Platform {
  clock: Clock
  random: Random
  http(): Http
  /** `token` goes where the platform can put it: a header, or the query in browsers. */
  connect(url: string, protocol: string, token: string | undefined, events: SocketEvents): Socket
}

/** Longest answer that is read: beyond it, something that is no broker is talking. */
export const ANSWER_BYTES_MAX = 64 * 1_048_576
