/**
 * Lets publishes through in the order in which they came, although something has to be waited for before each: a schema
 * that is being registered, a validator that takes its time. While nothing has to be, they pass at once. Owns who
 * waits, and their deadlines; made by define-topic.ts, one for each defined topic of a client.
 */
import type { Clock } from './platform.ts'
import { TidingsError } from './protocol/errors.ts'
import type { PublishReceipt } from './publish-answer.ts'
import type { PublishOptions } from './publish-entry.ts'
import type { Signals } from './signals.ts'
import { takenBack } from './waiting-room.ts'

/** As many as may wait for room in a publisher. */
const WAITING_MAX = 100_000

export class PublishGate {
  readonly #clock: Clock
  readonly #signals: Signals
  readonly #timeoutMs: number
  /** Holds this gate while somebody waits. */
  readonly #busy: Set<PublishGate>
  /** Settles when all that came until now have passed; null: nobody waits. */
  #last: Promise<unknown> | null = null
  #waiting = 0

  constructor({ clock, signals }: { clock: Clock; signals: Signals }, timeoutMs: number, busy: Set<PublishGate>) {
    this.#clock = clock
    this.#signals = signals
    this.#timeoutMs = timeoutMs
    this.#busy = busy
  }

  /** Resolves when everybody who is here now has passed. */
  async flush(): Promise<void> {
    await this.#last
  }

  /** `ready` is the value to publish, or a promise of it. `go` is called in order, with the options that are left. */
  pass(
    ready: unknown,
    options: PublishOptions,
    go: (value: unknown, options: PublishOptions) => Promise<PublishReceipt>,
  ): Promise<PublishReceipt> {
    if (!isPromise(ready) && this.#last === null) return go(ready, options)
    if (this.#waiting >= WAITING_MAX) {
      // Whatever becomes of it, nobody listens any more.
      if (isPromise(ready)) void ready.then(undefined, () => undefined)
      throw new TidingsError('overloaded', `${WAITING_MAX} publishes wait for the validator of their topic: await some`)
    }
    this.#waiting++
    const { timeoutMs = this.#timeoutMs } = options
    const deadline = this.#clock.monotonic() + timeoutMs
    const inTime = this.#inTime(Promise.resolve(ready), timeoutMs, options.signal)
    // Refused while those before it are not through: that is no unhandled rejection.
    inTime.catch(() => undefined)
    const passed = (this.#last ?? Promise.resolve()).then(async () => {
      const value = await inTime
      const leftMs = Math.max(1, deadline - this.#clock.monotonic())
      return { receipt: go(value, { ...options, timeoutMs: leftMs }) }
    })
    const last = passed
      .then(
        ({ receipt }) => void receipt.catch(() => undefined),
        () => undefined,
      )
      .then(() => {
        this.#waiting--
        if (this.#last !== last) return
        this.#last = null
        this.#busy.delete(this)
      })
    this.#last = last
    this.#busy.add(this)
    return passed.then(({ receipt }) => receipt)
  }

  #inTime(ready: Promise<unknown>, timeoutMs: number, signal: AbortSignal | undefined): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const onAbort = (): void => reject(takenBack(signal!))
      if (signal?.aborted) return onAbort()
      const timer = this.#clock.after(timeoutMs, () =>
        reject(new TidingsError('unavailable', `the value was not validated within ${timeoutMs} ms: nothing was sent`)),
      )
      const unlisten = signal && this.#signals.listen(signal, onAbort)
      ready.then(resolve, reject).finally(() => {
        timer.cancel()
        unlisten?.()
      })
    })
  }
}

export function isPromise(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'
}
