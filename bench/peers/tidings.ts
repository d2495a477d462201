/** Ours: the built broker with its defaults, through the public SDK; administered over HTTP as anyone would. */
import { join } from 'node:path'
import { type Client, createClient } from '@tidings/sdk'
import { callOk } from '../../test/support/admin-client.ts'
import { BrokerProcess, runCli } from '../../test/support/broker-process.ts'
import type { Consumption, Peer, PeerClient, PeerServer } from './peer.ts'

const MAX_UNACKED = 200_000

export const tidings: Peer = {
  label: 'Tidings',
  durability:
    'fdatasync before the receipt; `tidings serve` with its defaults, one partition a topic; @tidings/sdk with its defaults, a handler that acknowledges by returning, and reads `message.bytes`',
  async prepare() {
    const { stdout } = await runCli(['--version'])
    return stdout.trim().split('\n')[0] || 'this commit'
  },
  async start(directory) {
    return new TidingsServer(await BrokerProcess.start({ dataDir: join(directory, 'data') }))
  },
  async connect(address) {
    return new TidingsClient(address)
  },
}

class TidingsServer implements PeerServer {
  readonly #broker: BrokerProcess

  constructor(broker: BrokerProcess) {
    this.#broker = broker
  }

  get address(): string {
    return this.#broker.url
  }

  get pid(): number {
    return this.#broker.pid
  }

  get dataDir(): string {
    return this.#broker.dataDir
  }

  async kill(): Promise<void> {
    await this.#broker.kill()
  }

  async restart(): Promise<void> {
    await this.#broker.restart()
  }
}

class TidingsClient implements PeerClient {
  readonly #url: string
  readonly #client: Client

  constructor(url: string) {
    this.#url = url
    this.#client = createClient({ url })
  }

  async create(topics: readonly string[], subscriptions: readonly string[]): Promise<void> {
    const left = [...topics]
    const creating = async (): Promise<void> => {
      for (let topic = left.pop(); topic !== undefined; topic = left.pop())
        await callOk('PUT', `${this.#url}/v1/topics/${topic}`, { partitions: 1 })
    }
    await Promise.all(Array.from({ length: 16 }, creating))
    const settings = { type: 'shared', start: 'earliest', maxUnacked: MAX_UNACKED }
    for (const name of subscriptions)
      await callOk('PUT', `${this.#url}/v1/topics/${place(topics)}/subscriptions/${name}`, settings)
  }

  publisher(topic: string): (value: Uint8Array | object) => Promise<unknown> {
    const to = this.#client.topic<Uint8Array | object>(topic)
    return (value) => to.publish(value)
  }

  async consume({ topics, subscription, prefetch, values, onMessage, onAcked }: Consumption): Promise<void> {
    await new Promise<void>((resolve) => {
      const options = { prefetch, concurrency: prefetch, onConnect: resolve }
      this.#client.topic(place(topics)).subscribe(subscription, options, (message) => {
        // What came as JSON is an object; bytes are looked at where they lie, as the other clients give them.
        onMessage(values === 'json' ? message.value : message.bytes)
        onAcked(1)
      })
    })
  }

  async stored(topic: string): Promise<number> {
    const { partitionStates } = await callOk('GET', `${this.#url}/v1/topics/${topic}`)
    return (partitionStates as { nextOffset: number }[]).reduce((sum, { nextOffset }) => sum + nextOffset, 0)
  }

  async backlog(topics: readonly string[], subscription: string): Promise<number> {
    const { state } = await callOk('GET', `${this.#url}/v1/topics/${place(topics)}/subscriptions/${subscription}`)
    return state.backlog as number
  }

  /** Draining hears from the broker that what was acknowledged is durable. */
  async close(): Promise<void> {
    await this.#client.close()
  }
}

/** Many topics are read through one subscription to their pattern. */
function place(topics: readonly string[]): string {
  return topics.length === 1 ? topics[0]! : `${topics[0]!.split('.')[0]}.*`
}
