/**
 * NATS JetStream through the nats.js client: all topics are subjects of one file stream, a subscription is a durable
 * pull consumer with explicit acknowledgements. Servers from 2.10 on fsync each write when asked to
 * (`sync_interval: always`). Older ones, Debian 12's among them, cannot; there the store's directory carries the
 * attribute S (chattr +S), with which ext4 writes every file in it synchronously.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  AckPolicy,
  type ConsumerMessages,
  DeliverPolicy,
  type JetStreamClient,
  type JetStreamManager,
  jetstream,
  jetstreamManager,
  StorageType,
} from '@nats-io/jetstream'
import { connect, type NatsConnection } from '@nats-io/transport-node'
import { freePort } from '../../test/support/broker-process.ts'
import { ensureProgram } from '../../test/support/debian-package.ts'
import { bytesOf, type Consumption, type Peer, type PeerClient, type PeerServer } from './peer.ts'
import { PeerProcess } from './peer-process.ts'

const STREAM = 'BENCH'
const PREFETCH_MAX = 10_000

export const nats: Peer = {
  label: 'NATS JetStream',
  durability:
    'file storage, one replica, synchronous writes (`sync_interval: always`; before 2.10 by the file attribute S on the store); js.publish awaited; durable pull consumer, consume() with callbacks',
  async prepare() {
    return versionOf(await ensureProgram('nats-server'))
  },
  async start(directory) {
    const server = new NatsServer(await ensureProgram('nats-server'), directory, await freePort())
    await server.restart()
    await server.serving()
    return server
  },
  connect: async (address) => NatsClient.open(address),
}

function versionOf(program: string): string {
  return /v(\d+\.\d+\.\d+)/.exec(execFileSync(program, ['--version'], { encoding: 'utf8' }))?.[1] ?? 'unknown'
}

class NatsServer implements PeerServer {
  readonly address: string
  readonly dataDir: string
  readonly #program: string
  readonly #directory: string
  #process: PeerProcess | undefined

  constructor(program: string, directory: string, port: number) {
    this.#program = program
    this.#directory = directory
    this.address = `127.0.0.1:${port}`
    this.dataDir = join(directory, 'data')
    mkdirSync(this.dataDir)
    const [major, minor] = versionOf(program).split('.').map(Number)
    const hasSyncAlways = major! > 2 || (major === 2 && minor! >= 10)
    if (!hasSyncAlways) execFileSync('chattr', ['+S', this.dataDir], { stdio: 'pipe' })
    const sync = hasSyncAlways ? ', sync_interval: always' : ''
    writeFileSync(
      join(directory, 'nats.conf'),
      `listen: "${this.address}"\njetstream { store_dir: "${this.dataDir}"${sync} }\n`,
    )
  }

  get pid(): number {
    return this.#process!.pid
  }

  async kill(): Promise<void> {
    await this.#process!.kill()
  }

  async restart(): Promise<void> {
    this.#process = new PeerProcess([this.#program, '-c', join(this.#directory, 'nats.conf')], this.#directory)
  }

  async serving(): Promise<void> {
    await this.#process!.serving(async () => {
      const connection = await connect({ servers: this.address, reconnect: false })
      await (await jetstreamManager(connection)).getAccountInfo()
      await connection.close()
      return true
    })
  }
}

class NatsClient implements PeerClient {
  readonly #connection: NatsConnection
  readonly #manager: JetStreamManager
  readonly #stream: JetStreamClient
  readonly #consuming: ConsumerMessages[] = []

  private constructor(connection: NatsConnection, manager: JetStreamManager) {
    this.#connection = connection
    this.#manager = manager
    this.#stream = jetstream(connection, { timeout: 60_000 })
  }

  static async open(servers: string): Promise<NatsClient> {
    const connection = await connect({ servers, noAsyncTraces: true })
    return new NatsClient(connection, await jetstreamManager(connection))
  }

  async create(topics: readonly string[], subscriptions: readonly string[]): Promise<void> {
    const subjects = [`${topics[0]!.split('.')[0]}.>`]
    await this.#manager.streams.add({ name: STREAM, subjects, storage: StorageType.File, num_replicas: 1 })
    for (const name of subscriptions)
      await this.#manager.consumers.add(STREAM, {
        durable_name: name,
        ack_policy: AckPolicy.Explicit,
        deliver_policy: DeliverPolicy.All,
        max_ack_pending: 200_000,
      })
  }

  publisher(topic: string): (value: Uint8Array | object) => Promise<unknown> {
    return (value) => this.#stream.publish(topic, bytesOf(value))
  }

  async consume({ subscription, prefetch, onMessage, onAcked }: Consumption): Promise<void> {
    const consumer = await this.#stream.consumers.get(STREAM, subscription)
    const messages = await consumer.consume({
      max_messages: Math.min(prefetch, PREFETCH_MAX),
      callback: (message) => {
        onMessage(message.data)
        message.ack()
        onAcked(1)
      },
    })
    this.#consuming.push(messages)
  }

  async stored(): Promise<number> {
    return (await this.#manager.streams.info(STREAM)).state.messages
  }

  async backlog(_topics: readonly string[], subscription: string): Promise<number> {
    const { num_ack_pending, num_pending } = await this.#manager.consumers.info(STREAM, subscription)
    return num_ack_pending + num_pending
  }

  async close(): Promise<void> {
    for (const messages of this.#consuming) await messages.close()
    await this.#connection.drain()
  }
}
