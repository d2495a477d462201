/**
 * Which of etcd's endpoints is asked next, and what an outcome means: decisions, without a socket. One endpoint is
 * used for as long as it answers; one that failed rests, longer each time, while another is tried.
 *
 * What must stay true: a call that may have reached etcd and must not happen twice is never asked anew.
 */
import type { Refusal } from './etcd-codec.ts'

/** How one attempt at one endpoint ended. */
export type Outcome =
  | { kind: 'answer'; answer: unknown }
  | { kind: 'refused'; refusal: Refusal }
  /** No answer, or none that can be used. `sent`: a byte of the request may have arrived. */
  | { kind: 'lost'; sent: boolean; problem: string; cause?: unknown }

/** `refused`: it did not happen, and would not elsewhere. `unknown`: nobody knows whether it happened. */
export type Verdict = 'done' | 'refused' | 'log in' | 'elsewhere' | 'unknown'

/** Codes of gRPC that etcd answers with. */
export const GRPC = {
  invalidArgument: 3,
  notFound: 5,
  permissionDenied: 7,
  resourceExhausted: 8,
  failedPrecondition: 9,
  outOfRange: 11,
  unauthenticated: 16,
} as const

const DEFINITE: ReadonlySet<number> = new Set(Object.values(GRPC))

/** With these codes etcd says that it did nothing; with any other, such as a timeout, it may have. */
export function isDefinite({ code }: Refusal): boolean {
  return DEFINITE.has(code)
}

/** A token that has run out, or that is older than a change of users and roles. */
const TOKEN_CODES: ReadonlySet<number> = new Set([GRPC.unauthenticated, GRPC.invalidArgument])

/** `mayRepeat`: asking twice does no harm. `mayLogIn`: with a name and password, and not done for this call already. */
export function judge(outcome: Outcome, { mayRepeat, mayLogIn }: { mayRepeat: boolean; mayLogIn: boolean }): Verdict {
  if (outcome.kind === 'answer') return 'done'
  if (outcome.kind === 'lost') return mayRepeat || !outcome.sent ? 'elsewhere' : 'unknown'
  const { code } = outcome.refusal
  if (mayLogIn && TOKEN_CODES.has(code)) return 'log in'
  if (isDefinite(outcome.refusal)) return 'refused'
  return mayRepeat ? 'elsewhere' : 'unknown'
}

const REST_MS = 250
/** Far shorter than a call may take: one that comes when etcd is back finds it. */
const REST_MAX_MS = 1000

interface Endpoint {
  failures: number
  /** In monotonic time. */
  restsUntil: number
}

export class EndpointChoice {
  readonly #endpoints: readonly Endpoint[]
  #preferred = 0

  constructor(count: number) {
    this.#endpoints = Array.from({ length: count }, () => ({ failures: 0, restsUntil: Number.NEGATIVE_INFINITY }))
  }

  get count(): number {
    return this.#endpoints.length
  }

  /** Which to ask, and how long to wait before: all may be resting. */
  pick(now: number): { index: number; waitMs: number } {
    const count = this.#endpoints.length
    let best = { index: this.#preferred, waitMs: Number.POSITIVE_INFINITY }
    for (let i = 0; i < count; i++) {
      const index = (this.#preferred + i) % count
      const waitMs = Math.max(0, this.#endpoints[index]!.restsUntil - now)
      if (waitMs < best.waitMs) best = { index, waitMs }
    }
    return best
  }

  answered(index: number): void {
    this.#endpoints[index]!.failures = 0
    this.#endpoints[index]!.restsUntil = Number.NEGATIVE_INFINITY
    this.#preferred = index
  }

  failed(index: number, now: number): void {
    const endpoint = this.#endpoints[index]!
    endpoint.restsUntil = now + Math.min(REST_MAX_MS, REST_MS * 2 ** endpoint.failures)
    endpoint.failures = Math.min(endpoint.failures + 1, 16)
  }
}
