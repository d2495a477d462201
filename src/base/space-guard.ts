/**
 * Watches the room on the disk so that publishes are refused while acknowledgements and metadata can
 * still be written: below the low-water mark the disk counts as full, and as usable again at twice
 * that. Between two looks at the disk it subtracts what the broker itself has written.
 */
import type { Clock, Timer } from './clock.ts'
import type { Disk } from './disk.ts'

const CHECK_INTERVAL_MS = 1000

export class SpaceGuard {
  readonly #disk: Disk
  readonly #clock: Clock
  readonly #lowWaterBytes: number
  readonly #onError: (error: unknown) => void
  #freeBytes: number
  #full = false
  #timer: Timer | null = null

  private constructor(
    disk: Disk,
    clock: Clock,
    lowWaterBytes: number,
    freeBytes: number,
    onError: (error: unknown) => void,
  ) {
    this.#disk = disk
    this.#clock = clock
    this.#lowWaterBytes = lowWaterBytes
    this.#freeBytes = freeBytes
    this.#onError = onError
    this.#full = freeBytes < lowWaterBytes
  }

  /**
   * @param reserveBytes the low-water mark on a roomy disk; a small one keeps an eighth of what is free.
   * @param onError the disk could not be asked: what it said last stays in force
   */
  static async start(
    disk: Disk,
    clock: Clock,
    reserveBytes: number,
    onError: (error: unknown) => void,
  ): Promise<SpaceGuard> {
    const free = await disk.freeBytes()
    const lowWaterBytes = Math.max(Math.min(reserveBytes, Math.floor(free / 8)), Math.floor(reserveBytes / 64))
    const guard = new SpaceGuard(disk, clock, lowWaterBytes, free, onError)
    guard.#schedule()
    return guard
  }

  /** No more publishes are taken until room comes back. */
  get full(): boolean {
    return this.#full
  }

  /** The broker wrote so many bytes. */
  wrote(bytes: number): void {
    this.#freeBytes -= bytes
    if (this.#freeBytes < this.#lowWaterBytes) this.#full = true
  }

  /** A write found no room. */
  ranOut(): void {
    this.#full = true
  }

  async check(): Promise<void> {
    this.#freeBytes = await this.#disk.freeBytes()
    this.#full = this.#freeBytes < this.#lowWaterBytes * (this.#full ? 2 : 1)
  }

  stop(): void {
    this.#timer?.cancel()
    this.#timer = null
  }

  #schedule(): void {
    this.#timer = this.#clock.after(CHECK_INTERVAL_MS, () => {
      this.check()
        .catch(this.#onError)
        .finally(() => {
          if (this.#timer) this.#schedule()
        })
    })
  }
}
