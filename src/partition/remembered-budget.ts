/**
 * The memory that topics may take to remember what they stored, so that nothing is stored twice: one budget in bytes for
 * the whole broker, since whoever may publish may do so to many topics. Each topic has an account in it. What is known
 * already may be kept up to date past the budget, up to twice of it; nothing new is remembered past it, and so nothing
 * new stored.
 */
export class RememberedBudget {
  readonly limitBytes: number
  takenBytes = 0

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes
  }
}

export class RememberedAccount {
  readonly #budget: RememberedBudget
  #ownBytes = 0
  #isClosed = false

  constructor(budget: RememberedBudget) {
    this.#budget = budget
  }

  /** Whether there is room for so much more that is new. */
  hasRoom(bytes: number): boolean {
    return this.#budget.takenBytes + bytes <= this.#budget.limitBytes
  }

  /** The same for what belongs to something known. */
  hasRoomForKnown(bytes: number): boolean {
    return this.#budget.takenBytes + bytes <= 2 * this.#budget.limitBytes
  }

  /** Memory is taken, or given back where it is negative. */
  take(bytes: number): void {
    if (this.#isClosed) return
    this.#ownBytes += bytes
    this.#budget.takenBytes += bytes
  }

  /** The topic is gone, and what it remembered with it. */
  close(): void {
    this.take(-this.#ownBytes)
    this.#isClosed = true
  }
}
