/**
 * The coordinator of a cluster: the port over etcd (3.4 or newer) through its JSON gateway. Nothing is kept here but
 * watches: every read is linearizable and asks etcd, every change is one transaction of etcd's. Its election and lock
 * services are not used: what is safe rests on the guards of transactions alone.
 *
 * What must stay true: a TidingsError says that nothing was written, everything else that nobody knows. A lease counts
 * as kept alive only when the member that said so was heard by most others afterwards: one that was cut off, or
 * stood still, may not know yet that its leases have ended elsewhere.
 */
import { TidingsError } from '@tidings/sdk/protocol'
import type { Clock } from '../base/clock.ts'
import type { Logger } from '../base/telemetry.ts'
import type { Change, Coordinator, Entry, Guard, Write } from './coordinator.ts'
import { EtcdClient, EtcdRefusal } from './etcd-client.ts'
import {
  AnswerError,
  decodeGrant,
  decodeHeader,
  decodeKeepAlive,
  EtcdCodec,
  grantRequest,
  isLease,
  leaseRequest,
} from './etcd-codec.ts'
import { GRPC } from './etcd-endpoints.ts'
import { AnswerTooLargeError, type TlsFiles } from './etcd-http.ts'
import { EtcdWatch } from './etcd-watch.ts'
import { checkTransaction } from './transaction-rules.ts'

export interface EtcdCoordinatorOptions {
  /** Origins, such as http://127.0.0.1:2379; all of one cluster. */
  urls: readonly string[]
  /** What every key starts with; nothing else is read or written. */
  prefix: string
  user: { name: string; password: string } | null
  /** PEM texts. */
  tls: TlsFiles
  clock: Clock
  logger: Logger
  /** Longest time of one call. */
  callMs?: number
  /** Longest time that one endpoint has while others are left. */
  attemptMs?: number
  /** A watch that hears nothing for so long is opened anew. */
  silenceMs?: number
}

const CALL_MS = 5000
const ATTEMPT_MS = 1500
const SILENCE_MS = 20_000
const START_PAUSE_MS = 1000
const PAGE_ENTRIES = 500
const PAGES_AGAIN = 5

export class EtcdCoordinator implements Coordinator {
  readonly #options: EtcdCoordinatorOptions
  readonly #codec: EtcdCodec
  readonly #client: EtcdClient
  readonly #watches = new Set<EtcdWatch>()
  #closed = false

  /** Connects to nothing yet. Throws a sentence for certificates that cannot be used. */
  constructor(options: EtcdCoordinatorOptions) {
    const { urls, prefix, user, tls, clock, logger, callMs = CALL_MS, attemptMs = ATTEMPT_MS } = options
    this.#options = options
    this.#codec = new EtcdCodec(prefix)
    this.#client = new EtcdClient({ urls, tls, user, codec: this.#codec, clock, logger, callMs, attemptMs })
  }

  /** Resolves when etcd answers, however long that takes; it is said in the log. Never after `close`. */
  async ready(): Promise<void> {
    let said = ''
    while (!this.#closed) {
      try {
        return await this.#client.probe()
      } catch (error) {
        const problem = error instanceof Error ? error.message : String(error)
        // That nobody answers stands in the log already.
        const isNews = problem !== said && !TidingsError.is(error) && !this.#closed
        if (isNews) this.#options.logger.error({ problem }, `waiting for etcd: ${problem}`)
        said = problem
        await this.#client.pause(START_PAUSE_MS)
      }
    }
    return new Promise(() => undefined)
  }

  async get(key: string): Promise<Entry | null> {
    try {
      const answer = await this.#call('/v3/kv/range', this.#codec.getRequest(key))
      return this.#codec.decodeRange(answer).entries[0] ?? null
    } catch (error) {
      throw asTidingsError(error)
    }
  }

  async list(prefix: string): Promise<{ entries: Entry[]; revision: number }> {
    for (let tries = 1; ; tries++) {
      try {
        return await this.#listOnce(prefix)
      } catch (error) {
        // The revision at which the first page was read is compacted by now.
        if (!(error instanceof EtcdRefusal) || error.code !== GRPC.outOfRange) throw asTidingsError(error)
        if (tries >= PAGES_AGAIN) throw new TidingsError('no_leader', `etcd compacts faster than a list is read`)
      }
    }
  }

  /** All pages as of one revision. */
  async #listOnce(prefix: string): Promise<{ entries: Entry[]; revision: number }> {
    const entries: Entry[] = []
    let revision = 0
    let limit = PAGE_ENTRIES
    for (;;) {
      const after = entries.at(-1)?.key ?? null
      const body = this.#codec.listRequest(prefix, { limit, after, revision })
      try {
        const answer = await this.#call('/v3/kv/range', body)
        if (revision === 0) revision = decodeHeader(answer).revision
        const page = this.#codec.decodeRange(answer)
        for (const entry of page.entries) entries.push(entry)
        if (!page.more || page.entries.length === 0) return { entries, revision }
      } catch (error) {
        if (!(error instanceof AnswerTooLargeError) || limit === 1) throw error
        limit = Math.ceil(limit / 8)
      }
    }
  }

  async transact(guards: readonly Guard[], writes: readonly Write[]): Promise<{ ok: boolean; revision: number }> {
    this.#client.refuseClosed()
    checkTransaction(guards, writes)
    for (const write of writes) {
      if ('put' in write && write.lease !== undefined && !isLease(write.lease)) throw leaseGone(write.put)
    }
    const body = this.#codec.transactRequest(guards, writes)
    try {
      const answer = await this.#client.call({ path: '/v3/kv/txn', body, mayRepeat: false, isLinearizable: true })
      return this.#codec.decodeTransact(answer)
    } catch (error) {
      if (!(error instanceof EtcdRefusal)) throw error
      if (error.code === GRPC.notFound) {
        throw new TidingsError('conflict', 'a lease of the change has ended; nothing was written', { cause: error })
      }
      throw asTidingsError(error)
    }
  }

  watch(
    prefix: string,
    afterRevision: number,
    on: { changes(changes: Change[]): void; lost(): void },
  ): { stop(): void } {
    this.#client.refuseClosed()
    const { clock, logger, silenceMs = SILENCE_MS } = this.#options
    const client = this.#client
    const codec = this.#codec
    const lost = (): void => {
      this.#watches.delete(watch)
      on.lost()
    }
    const watch = new EtcdWatch({
      client,
      codec,
      clock,
      logger,
      prefix,
      afterRevision,
      silenceMs,
      on: { changes: (changes) => on.changes(changes), lost },
    })
    this.#watches.add(watch)
    return {
      stop: () => {
        this.#watches.delete(watch)
        watch.stop()
      },
    }
  }

  /** A grant whose answer got lost ends by itself. */
  async grant(ttlMs: number): Promise<string> {
    try {
      return decodeGrant(await this.#call('/v3/lease/grant', grantRequest(ttlMs)))
    } catch (error) {
      throw asTidingsError(error)
    }
  }

  async keepAlive(lease: string): Promise<boolean> {
    this.#client.refuseClosed()
    if (!isLease(lease)) return false
    try {
      const answer = await this.#call('/v3/lease/keepalive', leaseRequest(lease))
      if (!decodeKeepAlive(answer)) return false
      await this.#client.probe()
      return true
    } catch (error) {
      if (error instanceof EtcdRefusal && error.code === GRPC.notFound) return false
      throw asTidingsError(error)
    }
  }

  async revoke(lease: string): Promise<void> {
    this.#client.refuseClosed()
    if (!isLease(lease)) return
    try {
      await this.#call('/v3/lease/revoke', leaseRequest(lease))
    } catch (error) {
      if (error instanceof EtcdRefusal && error.code === GRPC.notFound) return
      throw asTidingsError(error)
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    for (const watch of this.#watches) watch.stop()
    this.#watches.clear()
    await this.#client.close()
  }

  #call(path: string, body: string): Promise<unknown> {
    return this.#client.call({ path, body, mayRepeat: true, isLinearizable: path === '/v3/kv/range' })
  }
}

function leaseGone(key: string): TidingsError {
  return new TidingsError('conflict', `the lease of ${key} has ended; nothing was written`)
}

/** What etcd refused, as what it means to the broker and those whom it serves. */
function asTidingsError(error: unknown): unknown {
  if (error instanceof AnswerTooLargeError || error instanceof AnswerError) {
    return new TidingsError('internal', `etcd cannot be used: ${error.message}`, { cause: error })
  }
  if (!(error instanceof EtcdRefusal)) return error
  if (error.code === GRPC.resourceExhausted) return new TidingsError('storage_full', error.message, { cause: error })
  return new TidingsError('internal', error.message, { cause: error })
}
