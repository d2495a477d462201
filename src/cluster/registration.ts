/**
 * This broker's registration: a lease, and the entry `brokers/<nodeId>` that hangs on it. A runner; the broker starts
 * it before anything that speaks for a topic, and stops it last.
 *
 * What must stay true: the entry is made only where none is, so that its create revision, the broker epoch, names this
 * registration alone; what another left is waited for. `holds` is computed when it is asked, from when the
 * keep-alive that was answered last was *sent*: the store counts from when it came, which was later. A
 * registration that was lost is never taken up again; the next has another epoch.
 */
import { TidingsError } from '@tidings/sdk/protocol'
import type { Clock, Random, Timer } from '../base/clock.ts'
import type { Logger } from '../base/telemetry.ts'
import { type BrokerEntry, brokerKey, decodeBroker, encodeBroker, registeredAs } from './broker-entry.ts'
import type { Coordinator, Entry } from './coordinator.ts'
import { absent, isWriteOf } from './store-entry.ts'

export interface RegistrationOptions {
  coordinator: Coordinator
  clock: Clock
  random: Random
  logger: Logger
  broker: BrokerEntry
  /** How long the registration outlives this broker. */
  ttlMs?: number
}

const TTL_MS = 5000
/** Share of the lease's time that is not relied on, since clocks run unevenly. */
const MARGIN = 0.05
const RETRY_MS = 200
/** Keep-alives that may be unanswered at once: a lost answer must not cost the lease. */
const UNANSWERED_MAX = 4
/** How often it says that it still waits. */
const SAY_MS = 10_000

/** A lease and, once the entry is there, its epoch. */
interface Hold {
  readonly lease: string
  readonly nonce: string
  brokerEpoch: number
  /** Monotonic time until which it is certain to last. */
  until: number
  unanswered: number
}

export class Registration {
  readonly nodeId: string
  readonly #options: RegistrationOptions
  readonly #key: string
  readonly #ttlMs: number
  readonly #listeners = new Set<() => void>()
  #broker: BrokerEntry
  #hold: Hold | null = null
  #isStopped = false
  #timer: Timer | null = null
  #registering: Promise<void> = Promise.resolve()
  /** Ends the pause of whoever registers. */
  #wake: (() => void) | null = null
  #saidAt = Number.NEGATIVE_INFINITY

  constructor(options: RegistrationOptions) {
    this.#options = options
    this.#broker = options.broker
    this.nodeId = options.broker.nodeId
    this.#key = brokerKey(this.nodeId)
    this.#ttlMs = options.ttlMs ?? TTL_MS
  }

  /** Of the registration that lasts as far as this broker knows, or null. */
  get brokerEpoch(): number | null {
    return this.#hold?.brokerEpoch ?? null
  }

  /** Whether nobody else can have taken this broker for gone yet. */
  get holds(): boolean {
    return this.#hold !== null && this.#options.clock.monotonic() < this.#hold.until
  }

  /** Calls back when the broker epoch is another or none any more. The callback must not throw. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  /** Resolves when it is registered, however long that takes; or when it was stopped. From then on it stays so by itself. */
  async start(): Promise<void> {
    this.#registering = this.#register()
    await this.#registering
  }

  /** Changes what others read of this broker; where the store does not answer, with a later keep-alive. */
  async announce(change: Partial<Pick<BrokerEntry, 'draining' | 'url' | 'peerAddress'>>): Promise<void> {
    this.#broker = { ...this.#broker, ...change }
    if (this.#hold) await this.#rewrite(this.#hold)
  }

  /** Ends the registration now, so that nobody has to wait for it to run out. */
  async stop(): Promise<void> {
    this.#isStopped = true
    this.#timer?.cancel()
    this.#wake?.()
    await this.#registering
    const hold = this.#hold
    if (!hold) return
    this.#end()
    await this.#revoke(hold.lease)
  }

  async #register(): Promise<void> {
    while (!this.#isStopped) {
      if (await this.#tryOnce()) return
      if (!this.#isStopped) await this.#pause()
    }
  }

  /** One lease, one entry; false: not yet. */
  async #tryOnce(): Promise<boolean> {
    const { coordinator, clock, random, logger } = this.#options
    let lease: string | null = null
    try {
      const before = await coordinator.get(this.#key)
      if (before) {
        this.#sayWaiting(before)
        return false
      }
      const askedAt = clock.monotonic()
      lease = await coordinator.grant(this.#ttlMs)
      const nonce = random.id()
      const brokerEpoch = await this.#putEntry(lease, nonce)
      if (brokerEpoch !== null && !this.#isStopped) {
        this.#hold = { lease, nonce, brokerEpoch, until: this.#certainUntil(askedAt), unanswered: 0 }
        logger.info({ node: this.nodeId, brokerEpoch }, 'registered')
        this.#scheduleBeat(this.#ttlMs / 3)
        this.#tell()
        return true
      }
    } catch (error) {
      this.#say(
        { err: error, node: this.nodeId },
        'cannot register, the coordinator store does not answer: trying again',
      )
    }
    // The lease takes an entry of it along that arrives late.
    if (lease !== null) await this.#revoke(lease)
    return false
  }

  /** The epoch; null when somebody else was first. */
  async #putEntry(lease: string, nonce: string): Promise<number | null> {
    const { coordinator } = this.#options
    const value = encodeBroker(this.#broker, nonce)
    try {
      const { ok, revision } = await coordinator.transact([absent(this.#key)], [{ put: this.#key, value, lease }])
      if (ok) return revision
    } catch (error) {
      if (TidingsError.is(error)) throw error
    }
    const entry = await coordinator.get(this.#key)
    return entry && isWriteOf(entry, nonce) ? entry.createRevision : null
  }

  #scheduleBeat(delayMs: number): void {
    this.#timer?.cancel()
    this.#timer = this.#options.clock.after(delayMs, () => {
      const hold = this.#hold
      if (!hold || this.#isStopped) return
      this.#scheduleBeat(this.#ttlMs / 3)
      if (hold.unanswered < UNANSWERED_MAX) void this.#beat(hold)
    })
  }

  async #beat(hold: Hold): Promise<void> {
    const { coordinator, clock } = this.#options
    const sentAt = clock.monotonic()
    hold.unanswered++
    try {
      const isAlive = await coordinator.keepAlive(hold.lease)
      if (isAlive) hold.until = Math.max(hold.until, this.#certainUntil(sentAt))
      // Who deletes the entry by hand does not end the lease.
      const entry = isAlive ? await coordinator.get(this.#key) : null
      if (entry?.createRevision !== hold.brokerEpoch) this.#lose(hold)
      else if (entry.value !== encodeBroker(this.#broker, hold.nonce)) await this.#rewrite(hold)
    } catch (error) {
      this.#say({ err: error, node: this.nodeId }, 'the coordinator store does not answer a keep-alive')
      if (hold === this.#hold && hold.unanswered < UNANSWERED_MAX) this.#scheduleBeat(RETRY_MS)
    } finally {
      hold.unanswered--
    }
  }

  async #rewrite(hold: Hold): Promise<void> {
    const value = encodeBroker(this.#broker, hold.nonce)
    const guard = registeredAs(this.nodeId, hold.brokerEpoch)
    try {
      await this.#options.coordinator.transact([guard], [{ put: this.#key, value, lease: hold.lease }])
    } catch (error) {
      this.#options.logger.debug(
        { err: error, node: this.nodeId },
        'what others read of this broker is not changed yet',
      )
    }
  }

  #lose(hold: Hold): void {
    if (hold !== this.#hold) return
    this.#options.logger.warn(
      { node: this.nodeId, brokerEpoch: hold.brokerEpoch },
      'the registration has ended, for the store did not hear of this broker in time: registering anew',
    )
    this.#end()
    void this.#revoke(hold.lease)
    if (!this.#isStopped) this.#registering = this.#register()
  }

  #end(): void {
    this.#hold = null
    this.#timer?.cancel()
    this.#tell()
  }

  /** It runs out by itself where this fails. */
  async #revoke(lease: string): Promise<void> {
    try {
      await this.#options.coordinator.revoke(lease)
    } catch (error) {
      this.#options.logger.debug({ err: error, lease }, 'a lease could not be given back: it runs out by itself')
    }
  }

  #certainUntil(sentAt: number): number {
    return sentAt + this.#ttlMs * (1 - MARGIN)
  }

  #tell(): void {
    for (const listener of this.#listeners) listener()
  }

  #sayWaiting(before: Entry): void {
    const fields: Record<string, unknown> = { node: this.nodeId }
    try {
      const { url, startedAt } = decodeBroker(before)
      Object.assign(fields, { url, startedAt: new Date(startedAt).toISOString() })
    } catch (error) {
      fields.err = error
    }
    this.#say(
      fields,
      'another registration of this node is in the store: waiting for it to end. Is this name used twice?',
    )
  }

  #say(fields: object, message: string): void {
    const now = this.#options.clock.monotonic()
    if (now - this.#saidAt < SAY_MS) return
    this.#saidAt = now
    this.#options.logger.warn(fields, message)
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#options.clock.after(RETRY_MS, resolve)
      this.#wake = () => {
        timer.cancel()
        resolve()
      }
    })
  }
}
