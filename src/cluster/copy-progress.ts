/**
 * One follower as its leader knows it: how far each log of the topic has come there, and when it last had everything.
 * A decision, part of in-sync.ts. Positions are facts of the leader's epoch: what it called durable stays so while it is
 * away, since nothing of that epoch is ever cut; when it follows anew it tells all of them again.
 */

/** It has not told of the log since it follows. */
const UNTOLD = -1

export class CopyProgress {
  readonly node: string
  /** Of the registration under which it follows. */
  brokerEpoch = 0
  isConnected = false
  /** It had all that was there at this time; before it ever had, when it began to count. */
  caughtUpAt: number
  /** It told of less than is committed, being one of those on whom that rests: it has lost what it promised. */
  hasLost = false
  readonly #written: number[] = []
  readonly #durable: number[] = []
  #untold = 0
  /** What there was at `#goalAt`, that it is to reach. */
  #goal: readonly number[] = []
  #goalAt: number

  constructor(node: string, logs: number, now: number) {
    this.node = node
    this.caughtUpAt = now
    this.#goalAt = now
    for (let log = 0; log < logs; log++) this.addLog()
  }

  addLog(): void {
    this.#written.push(UNTOLD)
    this.#durable.push(UNTOLD)
    this.#untold += 1
  }

  written(log: number): number {
    return this.#written[log]!
  }

  durable(log: number): number {
    return this.#durable[log]!
  }

  /** It has told of every log since it follows. */
  get isKnown(): boolean {
    return this.isConnected && this.#untold === 0
  }

  /** It follows, under this registration, and will tell of every log. `ends` is what there is now. */
  followed(brokerEpoch: number, ends: readonly number[], now: number): void {
    this.brokerEpoch = brokerEpoch
    this.isConnected = true
    this.hasLost = false
    this.#written.fill(UNTOLD)
    this.#durable.fill(UNTOLD)
    this.#untold = this.#written.length
    this.#aim(ends, now)
  }

  told(log: number, written: number, durable: number): void {
    if (this.#durable[log] === UNTOLD) this.#untold -= 1
    this.#written[log] = Math.max(this.#written[log]!, written)
    this.#durable[log] = Math.max(this.#durable[log]!, durable)
  }

  /** What was only written may be gone with it. */
  gone(): void {
    this.isConnected = false
    for (let log = 0; log < this.#written.length; log++) this.#written[log] = this.#durable[log]!
  }

  /** Looks whether it has reached what there was at an earlier look; if so, aims at what there is now. */
  look(ends: readonly number[], now: number): void {
    if (!this.isKnown || this.#goal.some((end, log) => this.#durable[log]! < end)) return
    this.caughtUpAt = Math.max(this.caughtUpAt, this.#goalAt)
    this.#aim(ends, now)
  }

  #aim(ends: readonly number[], now: number): void {
    this.#goal = [...ends]
    this.#goalAt = now
  }
}
