/**
 * Calls to etcd: asks one endpoint, and others when that one does not answer, logs in where a name and password are
 * given, and keeps the deadline. Owns the endpoints' state, the token and the streams; etcd-endpoints.ts decides.
 *
 * What must stay true: an endpoint is asked for nothing before it has shown that it belongs to the same cluster as the
 * others and does not lag behind what was read before; no call outlives its deadline by more than one login; what
 * may have happened is rejected with UnknownOutcomeError. Called by etcd-coordinator.ts and etcd-watch.ts.
 */
import { TidingsError } from '@tidings/sdk/protocol'
import type { Clock } from '../base/clock.ts'
import type { Logger } from '../base/telemetry.ts'
import {
  AnswerError,
  authenticateRequest,
  decodeHeader,
  decodeRefusal,
  decodeToken,
  type EtcdCodec,
  parseAnswer,
  type Refusal,
} from './etcd-codec.ts'
import { EndpointChoice, isDefinite, judge, type Outcome } from './etcd-endpoints.ts'
import { AnswerTooLargeError, EtcdHttp, type StreamEvents, type TlsFiles } from './etcd-http.ts'
import { connectionProblem, refusalProblem } from './etcd-problem.ts'

export interface EtcdClientOptions {
  urls: readonly string[]
  tls: TlsFiles
  user: { name: string; password: string } | null
  codec: EtcdCodec
  clock: Clock
  logger: Logger
  /** Longest time of one call. */
  callMs: number
  /** Longest time of one attempt at it while another endpoint is left. */
  attemptMs: number
}

/** etcd said no: nothing happened. The message is for the person who runs the broker. */
export class EtcdRefusal extends Error {
  override readonly name = 'EtcdRefusal'
  readonly code: number

  constructor(refusal: Refusal, detail: string) {
    super(detail)
    this.code = refusal.code
  }
}

/** The request may have reached etcd, and its answer did not reach us: it happened, or not, or will still. */
export class UnknownOutcomeError extends Error {
  override readonly name = 'UnknownOutcomeError'
}

export interface Call {
  path: string
  body: string
  /** Asking twice does no harm. */
  mayRepeat: boolean
  /** The answer's header is that of the whole cluster, and cannot lie behind an earlier one. */
  isLinearizable: boolean
}

/** Calls under way at once; more are refused. */
const CALLS_MAX = 256
const RANGE = '/v3/kv/range'

export class EtcdClient {
  readonly #options: EtcdClientOptions
  readonly #http: EtcdHttp
  readonly #choice: EndpointChoice
  /** Endpoints that have shown where they belong since they failed last. */
  readonly #known = new Set<number>()
  readonly #streams = new Map<() => void, number>()
  #clusterId: string | null = null
  #revision = 0
  #token: string | null = null
  #login: Promise<Outcome> | null = null
  #calls = 0
  /** What was wrong with an endpoint last. */
  #problem = 'none of its endpoints was asked'
  #isSilent = false
  #closed = false

  constructor(options: EtcdClientOptions) {
    this.#options = options
    this.#http = new EtcdHttp(options.urls, options.tls, options.clock)
    this.#choice = new EndpointChoice(options.urls.length)
  }

  /**
   * The answer. Rejected with EtcdRefusal (it was not done), `no_leader` (nobody could be asked; or it only reads),
   * `overloaded` (the same), AnswerTooLargeError, UnknownOutcomeError.
   */
  async call(call: Call): Promise<unknown> {
    this.refuseClosed()
    if (this.#calls >= CALLS_MAX) {
      throw new TidingsError('overloaded', `${CALLS_MAX} requests to etcd are under way; nothing was asked, try again`)
    }
    this.#calls++
    try {
      return await this.#call(call)
    } finally {
      this.#calls--
    }
  }

  async #call(call: Call): Promise<unknown> {
    const deadline = this.#now() + this.#options.callMs
    let hasLoggedIn = false
    for (;;) {
      const { index, waitMs } = this.#choice.pick(this.#now())
      if (this.#now() + waitMs >= deadline) throw this.#unreachable()
      if (waitMs > 0) await this.pause(waitMs)
      this.refuseClosed()
      const token = this.#token
      const outcome = await this.#attempt(index, call, deadline)
      const mayLogIn = this.#options.user !== null && !hasLoggedIn
      const verdict = judge(outcome, { mayRepeat: call.mayRepeat, mayLogIn })
      if (verdict === 'elsewhere' || verdict === 'unknown') this.#failed(index, outcome)
      else this.#answered(index)
      if (outcome.kind === 'answer') return outcome.answer
      if (outcome.kind === 'refused' && verdict === 'refused') {
        throw new EtcdRefusal(outcome.refusal, this.#refusalProblem(index, outcome.refusal))
      }
      if (verdict === 'unknown') {
        throw new UnknownOutcomeError(`etcd did not say what became of a request: ${this.#problem}`)
      }
      if (verdict === 'log in') {
        hasLoggedIn = true
        if (this.#token === token) this.#token = null
      }
    }
  }

  /** One try at one endpoint, which is looked at first if it is not known. */
  async #attempt(index: number, call: Call, deadline: number): Promise<Outcome> {
    const login = await this.#loggedIn(index, deadline)
    if (login) return login
    if (!this.#known.has(index)) {
      const probe = { path: RANGE, body: this.#options.codec.probeRequest(), mayRepeat: true, isLinearizable: true }
      const outcome = await this.#ask(index, probe, deadline)
      if (outcome.kind !== 'answer') return this.#unsent(index, outcome)
      this.#known.add(index)
    }
    return this.#ask(index, call, deadline)
  }

  /** What came instead of a token, or null when there is one or none is needed. */
  async #loggedIn(index: number, deadline: number): Promise<Outcome | null> {
    const { user } = this.#options
    if (user === null || this.#token !== null) return null
    // The check of a password is made to be slow: once for all calls that wait for it.
    this.#login ??= this.#ask(
      index,
      {
        path: '/v3/auth/authenticate',
        body: authenticateRequest(user.name, user.password),
        mayRepeat: true,
        isLinearizable: false,
      },
      deadline,
    ).finally(() => {
      this.#login = null
    })
    const outcome = await this.#login
    if (outcome.kind !== 'answer') return this.#unsent(index, outcome)
    try {
      this.#token = decodeToken(outcome.answer)
      return null
    } catch (error) {
      return lost(this.#url(index), false, error)
    }
  }

  /** What came of a request that goes before the one that is meant, as what it means for that one. */
  #unsent(index: number, outcome: Exclude<Outcome, { kind: 'answer' }>): Outcome {
    if (outcome.kind === 'lost') return { ...outcome, sent: false }
    if (isDefinite(outcome.refusal)) return outcome
    return { kind: 'lost', sent: false, problem: this.#refusalProblem(index, outcome.refusal) }
  }

  async #ask(index: number, call: Call, deadline: number): Promise<Outcome> {
    const { attemptMs } = this.#options
    const leastRevision = this.#revision
    const leftMs = Math.max(0, deadline - this.#now())
    const beginMs = this.#choice.count > 1 ? Math.min(leftMs, attemptMs) : leftMs
    const limits = { beginMs, answerMs: call.mayRepeat ? beginMs : leftMs }
    const request = { path: call.path, body: call.body, token: this.#token }
    const outcome = await this.#http.send(index, request, limits)
    if (outcome.kind === 'lost' && outcome.cause instanceof AnswerTooLargeError) throw outcome.cause
    if (outcome.kind === 'lost') return lost(this.#url(index), outcome.sent, outcome.cause)
    try {
      const answer = parseAnswer(outcome.body)
      if (outcome.status !== 200) return { kind: 'refused', refusal: decodeRefusal(answer) }
      const problem = call.isLinearizable ? this.#whereItStands(answer, leastRevision) : null
      return problem === null
        ? { kind: 'answer', answer }
        : { kind: 'lost', sent: true, problem: `${this.#url(index)}: ${problem}` }
    } catch (error) {
      if (!(error instanceof AnswerError)) throw error
      return lost(this.#url(index), true, error)
    }
  }

  /** Notes which cluster answered and how far it is, or says why that cannot be the one that we know. */
  #whereItStands(answer: unknown, leastRevision: number): string | null {
    const { clusterId, revision } = decodeHeader(answer)
    this.#clusterId ??= clusterId
    if (clusterId !== this.#clusterId) {
      return `it belongs to another cluster (${clusterId}) than the other endpoints (${this.#clusterId}): take it out of --etcd`
    }
    if (revision < leastRevision) {
      return (
        `it is at revision ${revision} and was at ${leastRevision} before: was it restored from an old backup? ` +
        'It is not used; stop all brokers before their etcd is restored'
      )
    }
    this.#revision = Math.max(this.#revision, revision)
    return null
  }

  /**
   * Opens a stream at an endpoint. `ended` tells also when the endpoint stopped answering other calls, since a stream
   * would not show that. Rejected as `call` is.
   */
  async stream(path: string, body: string, events: StreamEvents): Promise<{ close(): void }> {
    // Logs in, and finds an endpoint that answers.
    await this.probe()
    const { index } = this.#choice.pick(this.#now())
    const leave = (): void => {
      stream.close()
      this.#streams.delete(leave)
      events.ended(new Error(`${this.#url(index)} answers nothing else either`))
    }
    const request = { path, body, token: this.#token }
    const stream = this.#http.stream(index, request, {
      ...events,
      ended: (cause) => {
        this.#streams.delete(leave)
        events.ended(cause === null ? null : new Error(connectionProblem(this.#url(index), cause), { cause }))
      },
    })
    this.#streams.set(leave, index)
    return {
      close: () => {
        this.#streams.delete(leave)
        stream.close()
      },
    }
  }

  /** Asks only whether etcd answers. It is linearizable: most of the members were heard. */
  async probe(): Promise<void> {
    const body = this.#options.codec.probeRequest()
    await this.call({ path: RANGE, body, mayRepeat: true, isLinearizable: true })
  }

  pause(ms: number): Promise<void> {
    return new Promise((resolve) => void this.#options.clock.after(ms, resolve))
  }

  refuseClosed(): void {
    if (this.#closed) throw new TidingsError('no_leader', 'the coordinator store is closed: this broker is stopping')
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#streams.clear()
    await this.#http.close()
  }

  #now(): number {
    return this.#options.clock.monotonic()
  }

  #url(index: number): string {
    return this.#options.urls[index]!
  }

  #answered(index: number): void {
    this.#choice.answered(index)
    if (!this.#isSilent) return
    this.#isSilent = false
    this.#options.logger.info({ endpoint: this.#url(index) }, 'etcd answers again')
  }

  /** The endpoint rests, and streams leave it. */
  #failed(index: number, outcome: Outcome): void {
    this.#choice.failed(index, this.#now())
    this.#known.delete(index)
    for (const [leave, at] of this.#streams) if (at === index) leave()
    if (outcome.kind === 'refused') this.#problem = this.#refusalProblem(index, outcome.refusal)
    if (outcome.kind === 'lost') this.#problem = outcome.problem
  }

  #refusalProblem(index: number, refusal: Refusal): string {
    return refusalProblem(this.#url(index), refusal, this.#options.user?.name ?? null)
  }

  #unreachable(): TidingsError {
    const problem = this.#problem
    if (!this.#isSilent && !this.#closed) {
      this.#isSilent = true
      this.#options.logger.error({ problem }, `etcd cannot be reached: ${problem}`)
    }
    return new TidingsError('no_leader', `etcd cannot be reached, and nothing was changed: ${problem}`)
  }
}

function lost(url: string, sent: boolean, cause: unknown): Outcome {
  return { kind: 'lost', sent, problem: connectionProblem(url, cause), cause }
}
