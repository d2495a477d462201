/**
 * One life of the broker in a test's process, from a start to a stop or a crash: the real host and the real server
 * over a disk, a coordinator and a clock in memory. It listens nowhere: the network hands it requests and sockets.
 * What outlives it, the disk and the coordinator's content, is handed from life to life.
 */
import type { Random } from '../base/clock.ts'
import type { Disk } from '../base/disk.ts'
import { Latch } from '../base/latch.ts'
import { SpaceGuard } from '../base/space-guard.ts'
import { nullLogger } from '../base/telemetry.ts'
import { type BrokerOptions, createHost } from '../broker.ts'
import type { BrokerHost } from '../cluster/broker-host.ts'
import type { Host } from '../cluster/host.ts'
import { MemoryCoordinator, type StoreContent } from '../cluster/memory-coordinator.ts'
import { resolveConfig } from '../config.ts'
import { Server } from '../server/app.ts'
import type { ServerMetrics } from '../server/metrics.ts'
import type { ProcessView } from './virtual-time.ts'

export interface LifeParts {
  disk: Disk
  clock: ProcessView
  random: Random
  metrics: ServerMetrics
  /** What the coordinator of the life before left; null for the first. */
  content: StoreContent | null
  autoCreateTopics: boolean
  /** What stands between the server and the host. */
  guard: (host: Host) => Host
}

export class BrokerLife {
  readonly host: BrokerHost
  readonly server: Server
  readonly #parts: LifeParts
  readonly #coordinator: MemoryCoordinator
  readonly #space: SpaceGuard

  private constructor(parts: LifeParts, space: SpaceGuard) {
    const { disk, clock, random, metrics, content, autoCreateTopics, guard } = parts
    this.#parts = parts
    this.#space = space
    this.#coordinator = new MemoryCoordinator({ clock, random, ...(content ? { content } : {}) })
    const latch = new Latch((cause) => {
      // The disk of a test fails only where this code is wrong.
      throw cause
    })
    const options: BrokerOptions = { ...defaults, autoCreateTopics }
    const shared = { disk, clock, random, logger: nullLogger, metrics, latch }
    const ports = { ...shared, coordinator: this.#coordinator, coordinatorIsNew: content === null }
    this.host = createHost(ports, options, space)
    const { version } = options
    this.server = new Server({
      routing: null,
      host: guard(this.host),
      clock,
      logger: nullLogger,
      metrics,
      options,
      version,
    })
  }

  /** Recovers what the disk holds; serves when it resolves. */
  static async start(parts: LifeParts): Promise<BrokerLife> {
    const space = await SpaceGuard.start(parts.disk, parts.clock, defaults.reserveBytes, () => undefined)
    const life = new BrokerLife(parts, space)
    await life.host.open()
    return life
  }

  /** What the next life's coordinator starts with. */
  get content(): StoreContent {
    return this.#coordinator.content()
  }

  /** As on SIGTERM: finishes what is in flight, tells consumers to reconnect, closes the files. */
  async stop(): Promise<void> {
    this.host.drain()
    await this.server.drain()
    await this.host.close()
    this.kill()
  }

  /** As on kill -9, as far as it is not the disk's: nothing happens by itself any more. */
  kill(): void {
    this.#space.stop()
    this.#parts.clock.kill()
  }
}

const defaults: BrokerOptions = {
  ...resolveConfig({ flags: new Map(), env: {}, file: { reserveBytes: 0 } }),
  version: 'test',
}
