/**
 * RabbitMQ through amqplib: a subscription is a durable quorum queue, a topic with several of them a fanout exchange.
 * Publishes go over a confirm channel as persistent messages. The same file makes the variant with a stream queue, whose
 * confirms do not wait for the disk: one append-only log, read by position.
 */
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Channel, type ChannelModel, type ConfirmChannel, connect } from 'amqplib'
import { freePort } from '../../test/support/broker-process.ts'
import { ensureProgram } from '../../test/support/debian-package.ts'
import { bytesOf, type Consumption, type Peer, type PeerClient, type PeerServer } from './peer.ts'
import { PeerProcess } from './peer-process.ts'

type QueueType = 'quorum' | 'stream'

const HOME_OF_SERVERS = '/usr/lib/rabbitmq/lib'
/** Above it RabbitMQ takes no prefetch. */
const PREFETCH_MAX = 65_535

async function installed(): Promise<{ server: string; version: string }> {
  await ensureProgram('rabbitmq-server')
  // The wrapper on the PATH changes the user; the script that it calls runs as anyone.
  const folder = readdirSync(HOME_OF_SERVERS).find((name) => name.startsWith('rabbitmq_server-'))
  if (!folder) throw new Error(`no RabbitMQ below ${HOME_OF_SERVERS}`)
  return { server: join(HOME_OF_SERVERS, folder, 'sbin/rabbitmq-server'), version: folder.replace(/^.*-/, '') }
}

function rabbit(type: QueueType, label: string, durability: string): Peer {
  return {
    label,
    durability,
    isUnsynced: type === 'stream',
    prepare: async () => (await installed()).version,
    async start(directory) {
      const ports = { amqp: await freePort(), distribution: await freePort(), epmd: await freePort() }
      const server = new RabbitServer((await installed()).server, directory, ports)
      await server.restart()
      await server.serving()
      return server
    },
    connect: async (address) => RabbitClient.open(address, type),
  }
}

export const rabbitmq = rabbit(
  'quorum',
  'RabbitMQ quorum',
  'quorum queue on one node (its log is fdatasynced before the confirm), persistent messages, confirm channel; no plugins',
)
export const rabbitmqStream = rabbit(
  'stream',
  'RabbitMQ stream (unsynced)',
  'stream queue over AMQP, confirm channel: the confirm does not wait for the disk, so this column is not at the same durability; an acknowledgement only gives credit',
)

class RabbitServer implements PeerServer {
  readonly address: string
  readonly dataDir: string
  readonly #program: string
  readonly #directory: string
  readonly #ports: { amqp: number; distribution: number; epmd: number }
  #epmd: PeerProcess | undefined
  #process: PeerProcess | undefined

  constructor(program: string, directory: string, ports: { amqp: number; distribution: number; epmd: number }) {
    this.#program = program
    this.#directory = directory
    this.#ports = ports
    this.address = `amqp://guest:guest@127.0.0.1:${ports.amqp}?frameMax=131072`
    this.dataDir = join(directory, 'data')
    mkdirSync(this.dataDir)
    writeFileSync(
      join(directory, 'rabbitmq.conf'),
      `listeners.tcp.default = 127.0.0.1:${ports.amqp}\nlog.console = false\nlog.file.level = error\nvm_memory_high_watermark.relative = 0.6\n`,
    )
    writeFileSync(join(directory, 'enabled_plugins'), '[].\n')
  }

  get pid(): number {
    return this.#process!.pid
  }

  async kill(): Promise<void> {
    await this.#process!.kill()
    await this.#epmd!.kill()
  }

  async restart(): Promise<void> {
    // The name server of Erlang's nodes, as a child of ours on a port of ours, so that none is left behind.
    const epmd = ['epmd', '-port', String(this.#ports.epmd), '-address', '127.0.0.1']
    this.#epmd = new PeerProcess(epmd, this.#directory)
    const env = {
      HOME: this.#directory,
      ERL_EPMD_PORT: String(this.#ports.epmd),
      ERL_EPMD_ADDRESS: '127.0.0.1',
      RUNNING_UNDER_SYSTEMD: 'true',
      RABBITMQ_NODENAME: `bench${this.#ports.amqp}@localhost`,
      RABBITMQ_DIST_PORT: String(this.#ports.distribution),
      RABBITMQ_CONFIG_FILE: join(this.#directory, 'rabbitmq.conf'),
      RABBITMQ_CONF_ENV_FILE: join(this.#directory, 'no-environment'),
      RABBITMQ_ENABLED_PLUGINS_FILE: join(this.#directory, 'enabled_plugins'),
      RABBITMQ_MNESIA_BASE: this.dataDir,
      RABBITMQ_LOG_BASE: join(this.#directory, 'log'),
      RABBITMQ_PID_FILE: join(this.#directory, 'pid'),
    }
    this.#process = new PeerProcess([this.#program], this.#directory, env)
  }

  async serving(): Promise<void> {
    await this.#process!.serving(async () => {
      const connection = await connect(this.address)
      await connection.close()
      return true
    })
  }
}

class RabbitClient implements PeerClient {
  readonly #type: QueueType
  readonly #connection: ChannelModel
  readonly #publishing: ConfirmChannel
  readonly #consuming: Channel[] = []

  private constructor(type: QueueType, connection: ChannelModel, publishing: ConfirmChannel) {
    this.#type = type
    this.#connection = connection
    this.#publishing = publishing
  }

  static async open(address: string, type: QueueType): Promise<RabbitClient> {
    const connection = await connect(address, { noDelay: true })
    connection.on('error', () => undefined)
    return new RabbitClient(type, connection, await connection.createConfirmChannel())
  }

  async create(topics: readonly string[], subscriptions: readonly string[]): Promise<void> {
    const channel = this.#publishing
    const names = this.#type === 'stream' || subscriptions.length === 0 ? ['all'] : subscriptions
    for (const topic of topics) {
      await channel.assertExchange(topic, 'fanout', { durable: true })
      for (const name of names) {
        await channel.assertQueue(`${topic}/${name}`, { durable: true, arguments: { 'x-queue-type': this.#type } })
        await channel.bindQueue(`${topic}/${name}`, topic, '')
      }
    }
  }

  publisher(topic: string): (value: Uint8Array | object) => Promise<unknown> {
    const channel = this.#publishing
    return (value) =>
      new Promise<void>((resolve, reject) => {
        channel.publish(topic, '', bytesOf(value), { persistent: true }, (error) =>
          error ? reject(error as Error) : resolve(),
        )
      })
  }

  async consume({ topics, subscription, prefetch, isBatchAcked, onMessage, onAcked }: Consumption): Promise<void> {
    const channel = await this.#connection.createChannel()
    this.#consuming.push(channel)
    await channel.prefetch(Math.min(prefetch, PREFETCH_MAX))
    const options = this.#type === 'stream' ? { arguments: { 'x-stream-offset': 'first' } } : {}
    let unacked = 0
    for (const topic of topics) {
      await channel.consume(
        `${topic}/${this.#type === 'stream' ? 'all' : subscription}`,
        (message) => {
          if (!message) return
          onMessage(message.content)
          if (isBatchAcked) {
            // One acknowledgement for what one read of the socket brought.
            if (unacked++ === 0)
              setImmediate(() => {
                channel.ackAll()
                onAcked(unacked)
                unacked = 0
              })
          } else {
            channel.ack(message)
            onAcked(1)
          }
        },
        options,
      )
    }
  }

  async stored(topic: string): Promise<number> {
    return this.#count(`${topic}/all`)
  }

  async backlog(topics: readonly string[], subscription: string): Promise<number> {
    let sum = 0
    if (this.#type === 'quorum') for (const topic of topics) sum += await this.#count(`${topic}/${subscription}`)
    return sum
  }

  async close(): Promise<void> {
    for (const channel of this.#consuming) await channel.close()
    await this.#connection.close()
  }

  async #count(queue: string): Promise<number> {
    const channel = await this.#connection.createChannel()
    channel.on('error', () => undefined)
    const { messageCount } = await channel.checkQueue(queue)
    await channel.close()
    return messageCount
  }
}
