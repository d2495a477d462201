/**
 * Which operations of the simulated disk fail, and how: a plan that the driver fills and the disk
 * asks before each operation takes effect. A fault counts only the operations that it matches.
 */

export interface Fault {
  /** Kind of operation as named in the journal: sync, write, create, syncDirectory, …; the first two are durable writes too. */
  on: string
  /** Any path when absent. */
  path?: (path: string) => boolean
  /** How many matching operations still pass before the first that fails. */
  after?: number
  /** How many fail, Infinity for a disk that died. One when absent. */
  times?: number
  code: 'EIO' | 'ENOSPC' | 'EROFS' | 'EMFILE'
}

/** A durable write is a write and a sync. */
function isHit(kind: string, on: string): boolean {
  return kind === on || (kind === 'writeDurably' && (on === 'write' || on === 'sync'))
}

export class SimFaults {
  #faults: { fault: Fault; passing: number; failing: number }[] = []

  add(fault: Fault): void {
    this.#faults.push({ fault, passing: fault.after ?? 0, failing: fault.times ?? 1 })
  }

  clear(): void {
    this.#faults = []
  }

  /** How the operation that is about to take effect fails, if it does. */
  hit(kind: string, path: string): Fault['code'] | undefined {
    let code: Fault['code'] | undefined
    for (const planned of this.#faults) {
      if (!isHit(kind, planned.fault.on) || planned.fault.path?.(path) === false) continue
      if (planned.passing > 0) planned.passing -= 1
      else if (code === undefined && planned.failing > 0) {
        planned.failing -= 1
        code = planned.fault.code
      }
    }
    this.#faults = this.#faults.filter((planned) => planned.failing > 0)
    return code
  }
}
