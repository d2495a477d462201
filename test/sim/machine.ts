/**
 * One simulated machine: a disk that forgets, a clock that stands still, and one life of the broker
 * after the other on it. It knows how to boot, to let one thing happen, and to crash; what should
 * happen when is the scenario's business.
 */

import type { Disk } from '../../src/base/disk.ts'
import { Latch } from '../../src/base/latch.ts'
import { latchedDisk } from '../../src/base/latched-disk.ts'
import { SpaceGuard } from '../../src/base/space-guard.ts'
import { nullLogger, nullMetrics } from '../../src/base/telemetry.ts'
import { BrokerHost } from '../../src/cluster/broker-host.ts'
import { Catalog } from '../../src/cluster/catalog.ts'
import { MemoryCoordinator } from '../../src/cluster/memory-coordinator.ts'
import { CacheBudget } from '../../src/log/batch-cache.ts'
import { OpenSegments } from '../../src/log/open-segments.ts'
import { RememberedBudget } from '../../src/partition/remembered-budget.ts'
import { SimClock } from '../../src/testing/sim-clock.ts'
import { SimDisk } from '../../src/testing/sim-disk.ts'
import type { SimRandom } from '../../src/testing/sim-random.ts'
import { settle } from '../support/settle.ts'

/** From a boot to the next crash. */
export interface Life {
  host: BrokerHost
  state: 'booting' | 'serving' | 'failed' | 'over'
  /** Why it could not boot, or why it must end. */
  failure: unknown
}

export interface MachineOptions {
  random: SimRandom
  journal: (line: string) => void
  /** Stands between the broker and its disk: where deliberate bugs are put. */
  wrapDisk?: (disk: Disk) => Disk
}

export class Machine {
  readonly clock: SimClock = new SimClock({ soon: 'driven' })
  readonly disk: SimDisk
  life: Life | null = null
  readonly #random: SimRandom
  readonly #journal: (line: string) => void
  readonly #wrapDisk: (disk: Disk) => Disk
  #process: ReturnType<SimClock['process']>
  #coordinator: MemoryCoordinator | null = null
  #boots = 0

  constructor({ random, journal, wrapDisk = (disk) => disk }: MachineOptions) {
    this.#random = random
    this.#journal = journal
    this.#wrapDisk = wrapDisk
    this.disk = new SimDisk({ random, schedule: 'manual', journal })
    this.#process = this.clock.process()
  }

  /** Starts a life; it boots while the machine is stepped. */
  boot(): Life {
    this.#boots += 1
    const clock = this.clock.process()
    this.#process = clock
    const random = this.#random.split(`boot ${this.#boots}`)
    const content = this.#coordinator?.content()
    const catalogIsNew = content === undefined
    this.#coordinator = new MemoryCoordinator({ clock, random, ...(content ? { content } : {}) })
    const life: Life = { host: undefined as unknown as BrokerHost, state: 'booting', failure: null }
    const latch = new Latch((cause) => {
      if (life.state !== 'over') life.state = 'failed'
      life.failure = cause
    })
    const disk = latchedDisk(this.#wrapDisk(this.disk.mount()), latch)
    const catalog = new Catalog(this.#coordinator, random)
    const opened = async (): Promise<void> => {
      const space = await SpaceGuard.start(disk, clock, 4096, () => undefined)
      life.host = new BrokerHost({
        catalog,
        catalogIsNew,
        random,
        nodeId: 'sim',
        autoCreateTopics: true,
        maxTopics: 1000,
        environment: {
          disk,
          clock,
          latch,
          logger: nullLogger,
          metrics: nullMetrics,
          space,
          cacheBudget: new CacheBudget(8192),
          rememberedBudget: new RememberedBudget(2 ** 30),
          openSegments: new OpenSegments(2, (error) => latch.trip(error)),
          maxQueuedBytes: 8 * 1_048_576,
          // Rolls after every few records (what one entry may hold is kept free), and is written anew soon.
          scheduleLog: { segmentBytes: 8192, growthBytes: 2000 },
          cursorLog: { segmentBytes: 262_224 + 4000, growthBytes: 8000 },
        },
      })
      await life.host.open()
    }
    opened().then(
      () => {
        if (life.state === 'booting') life.state = 'serving'
      },
      (error: unknown) => {
        if (life.state === 'booting') life.state = 'failed'
        life.failure = error
      },
    )
    this.life = life
    return life
  }

  /** Lets one disk operation happen, if one is pending. */
  async stepDisk(): Promise<boolean> {
    const stepped = this.disk.step() !== null
    await settle()
    return stepped
  }

  /** Performs an operation without telling who asked: a crash may come in between. */
  performUntold(): void {
    const pending = this.disk.pending[0]
    if (pending) this.disk.perform(pending.id)
  }

  /** Runs work of this turn, or (with `wait`) moves on to the next timer. */
  async stepClock(wait: boolean): Promise<boolean> {
    const due = this.clock.nextDue()
    if (due === undefined || (!wait && due > this.clock.monotonic())) return false
    this.clock.runNext()
    await settle()
    return true
  }

  /** Drives the machine until the task has ended, or the life has; false when the limit came first. */
  async whileStepping(life: Life, task: () => Promise<void>, limit = 5000): Promise<boolean> {
    let isOver = false
    const ended = task().then(
      () => {
        isOver = true
      },
      (error: unknown) => {
        isOver = true
        this.#journal(`refused ${String(error)}`)
      },
    )
    await settle()
    for (let step = 0; !isOver && life.state === 'serving' && step < limit; step++) {
      if (!(await this.stepDisk()) && !(await this.stepClock(false))) await this.stepClock(true)
    }
    if (isOver) await ended
    return isOver
  }

  /** Plans a fault of the disk, a few operations from now. */
  inject(fault: 'sync' | 'write' | 'room' | 'full', random: SimRandom): void {
    const { disk } = this
    const after = random.integer(4)
    if (fault === 'sync') disk.fail({ on: random.pick(['sync', 'syncDirectory']), after, code: 'EIO' })
    else if (fault === 'write') disk.fail({ on: 'write', after, code: 'EIO' })
    else if (fault === 'room')
      disk.fail({ on: random.pick(['write', 'create']), after, times: 1 + random.integer(2), code: 'ENOSPC' })
    else disk.capacityBytes = disk.usedBytes + random.integer(20_000)
  }

  async crash(kind: 'process' | 'power'): Promise<void> {
    if (this.life) this.life.state = 'over'
    this.life = null
    this.#process.kill()
    this.disk.crash(kind)
    await settle()
  }
}
