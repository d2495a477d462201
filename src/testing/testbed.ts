/**
 * A test's broker with all that it stands on: one disk and one clock, one life of the broker after the other, and the
 * network to its clients. It starts, crashes and restarts lives, and knows how to wait until nothing more happens.
 * What a test sees of it is test-broker.ts.
 */
import { type Client, type ClientOptions, createClientOn } from '@tidings/sdk/platform'
import { TidingsError } from '@tidings/sdk/protocol'
import type { BrokerHost } from '../cluster/broker-host.ts'
import type { StoreContent } from '../cluster/memory-coordinator.ts'
import { Activity } from './activity.ts'
import { BrokerLife } from './broker-life.ts'
import { Network } from './network.ts'
import { progressMetrics } from './progress-metrics.ts'
import { PublishMishaps } from './publish-mishaps.ts'
import { SimDisk } from './sim-disk.ts'
import { SimRandom } from './sim-random.ts'
import { SubscriptionStarts } from './subscription-starts.ts'
import { VirtualTime } from './virtual-time.ts'

export interface TestbedOptions {
  seed: number
  /** Wall time at the start. */
  wallMs: number
  autoCreateTopics: boolean
}

export interface TestAnswer {
  status: number
  headers: Record<string, string>
  /** The parsed JSON where the answer is JSON, else its text. */
  body: unknown
}

/** What clients call the broker; nothing is looked up under it. */
export const TEST_URL = 'http://tidings.test'
const CLOSE_MS = 120_000

export class Testbed {
  readonly time: VirtualTime
  readonly network: Network
  readonly mishaps: PublishMishaps
  readonly starts = new SubscriptionStarts()
  readonly #activity = new Activity()
  readonly #options: TestbedOptions
  readonly #random: SimRandom
  readonly #disk: SimDisk
  readonly #clients = new Set<Client>()
  #clientCount = 0
  #lives = 0
  #life: BrokerLife | null = null
  #content: StoreContent | null = null
  #watchers: (() => void)[] = []
  #isClosed = false

  constructor(options: TestbedOptions) {
    this.#options = options
    this.#random = new SimRandom(options.seed)
    this.#disk = new SimDisk({ random: this.#random })
    this.time = new VirtualTime(this.#activity, options.wallMs)
    this.network = new Network(this.#activity)
    this.mishaps = new PublishMishaps(() => this.network.cutPublishes())
  }

  /** Throws `unavailable` while the broker is down. */
  get host(): BrokerHost {
    return this.#present.host
  }

  get isDown(): boolean {
    return this.#life === null
  }

  get #present(): BrokerLife {
    if (this.#life) return this.#life
    throw new TidingsError('unavailable', 'the broker is down: restart() starts it again')
  }

  async start(): Promise<void> {
    if (this.#isClosed) throw new TidingsError('aborted', 'the test broker is closed')
    const label = `life ${this.#lives++}`
    const life = await BrokerLife.start({
      disk: this.#disk.mount(),
      clock: this.time.process(),
      random: this.#random.split(label),
      metrics: progressMetrics(() => this.#progress()),
      content: this.#content,
      autoCreateTopics: this.#options.autoCreateTopics,
      guard: (host) => this.starts.guard(this.mishaps.guard(host)),
    })
    this.#life = life
    this.network.attach(life.server)
  }

  /** `process`: what was written stays; `power`: only what was synced does. */
  crash(kind: 'process' | 'power'): void {
    const life = this.#present
    this.#content = life.content
    this.#life = null
    life.kill()
    // The worst that can be; what a half-done sync leaves is the simulation's business.
    this.#disk.crash(kind, 'none')
    this.network.detach()
    this.#progress()
  }

  async stop(): Promise<void> {
    const life = this.#present
    await this.drive(life.stop())
    this.#content = life.content
    this.#life = null
    this.network.detach()
  }

  connect(options: Omit<ClientOptions, 'url'>): Client {
    if (this.#isClosed) throw new TidingsError('aborted', 'the test broker is closed')
    const random = this.#random.split(`client ${this.#clientCount++}`)
    const platform = this.network.platform(this.time.process(), random)
    const client = createClientOn(platform, { ...options, url: TEST_URL })
    this.#clients.add(client)
    return client
  }

  /** Anything of the HTTP API. */
  async request(method: TestMethod, path: string, body?: unknown): Promise<TestAnswer> {
    const isRaw = body === undefined || typeof body === 'string' || body instanceof Uint8Array
    const payload = isRaw ? body : JSON.stringify(body)
    this.#activity.note()
    const answer = await this.#present.server.inject({
      method,
      url: path,
      headers: isRaw ? {} : { 'content-type': 'application/json' },
      ...(payload === undefined ? {} : { payload: typeof payload === 'string' ? payload : Buffer.from(payload) }),
    })
    this.#activity.note()
    const headers: Record<string, string> = {}
    for (const [name, value] of Object.entries(answer.headers)) headers[name] = String(value)
    const isJson = /[/+]json/.test(headers['content-type'] ?? '') && answer.payload !== ''
    return {
      status: answer.statusCode,
      headers,
      body: isJson ? (JSON.parse(answer.payload) as unknown) : answer.payload,
    }
  }

  /** Resolves when something may have become of a message. */
  changed(): Promise<void> {
    return new Promise((resolve) => void this.#watchers.push(resolve))
  }

  /** Waits for a task whose end may need time to pass, and lets it pass. */
  async drive(task: Promise<unknown>): Promise<void> {
    let isOver = false
    const over = (): void => {
      isOver = true
    }
    task.then(over, over)
    const until = this.time.monotonic() + CLOSE_MS
    await this.time.settle()
    while (!isOver && (await this.time.step(until)));
    if (!isOver) await this.time.settle()
    await task
  }

  /** Ends the clients and the broker. */
  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    await this.drive(Promise.all([...this.#clients].map((client) => client.close())))
    if (this.#life) await this.stop()
    await this.time.settle()
  }

  #progress(): void {
    for (const watcher of this.#watchers.splice(0)) watcher()
  }
}

export type TestMethod = 'GET' | 'POST' | 'PUT' | 'DELETE'
