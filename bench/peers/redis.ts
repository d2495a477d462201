/**
 * Redis Streams through ioredis. A topic is a stream, a subscription a consumer group. Publishes made in one turn of
 * the event loop travel as one pipeline (enableAutoPipelining), except where there is one at a time. A consumer blocks
 * in XREADGROUP on one connection and acknowledges on another, so that reading never waits for an answer.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { freePort } from '../../test/support/broker-process.ts'
import { ensureProgram } from '../../test/support/debian-package.ts'
import { bytesOf, type ClientOptions, type Consumption, type Peer, type PeerClient, type PeerServer } from './peer.ts'
import { PeerProcess } from './peer-process.ts'

const READ_COUNT = 1000
const BLOCK_MS = 1000
/** Streams that one connection blocks on, where a subscription reads many. */
const STREAMS_A_READ = 125

/** A stream, its entries, a stream, its entries, …: how ioredis shows a map of RESP3. */
type Reply = readonly (Buffer | Entries)[] | null
type Entries = readonly [id: Buffer, fields: readonly Buffer[]][]

export const redis: Peer = {
  label: 'Redis Streams',
  durability:
    'appendonly, appendfsync always, no snapshots, no rewriting of the AOF; ioredis with enableAutoPipelining; XREADGROUP COUNT 1000 BLOCK on one connection, XACK on another',
  async prepare() {
    const program = await ensureProgram('redis-server')
    return /v=(\S+)/.exec(execFileSync(program, ['--version'], { encoding: 'utf8' }))?.[1] ?? 'unknown'
  },
  async start(directory) {
    const server = new RedisServer(await ensureProgram('redis-server'), directory, await freePort())
    await server.restart()
    await server.serving()
    return server
  },
  async connect(address, options) {
    return new RedisClient(Number(address), options)
  },
}

class RedisServer implements PeerServer {
  readonly address: string
  readonly dataDir: string
  readonly #program: string
  readonly #directory: string
  #process: PeerProcess | undefined

  constructor(program: string, directory: string, port: number) {
    this.#program = program
    this.#directory = directory
    this.address = String(port)
    this.dataDir = join(directory, 'data')
    mkdirSync(this.dataDir)
  }

  get pid(): number {
    return this.#process!.pid
  }

  async kill(): Promise<void> {
    await this.#process!.kill()
  }

  async restart(): Promise<void> {
    const settings = {
      bind: '127.0.0.1',
      port: this.address,
      dir: this.dataDir,
      appendonly: 'yes',
      appendfsync: 'always',
      save: '',
      'auto-aof-rewrite-percentage': '0',
      'tcp-backlog': '511',
      daemonize: 'no',
    }
    const flags = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value])
    this.#process = new PeerProcess([this.#program, ...flags], this.#directory)
  }

  async serving(): Promise<void> {
    const client = new Redis({ port: Number(this.address), lazyConnect: true, maxRetriesPerRequest: null })
    client.on('error', () => undefined)
    await this.#process!.serving(async () => (await client.ping()) === 'PONG')
    client.disconnect()
  }
}

class RedisClient implements PeerClient {
  readonly #port: number
  readonly #commands: Redis
  readonly #readers: Redis[] = []
  readonly #loops: Promise<void>[] = []
  #isClosing = false

  constructor(port: number, { isSerial }: ClientOptions) {
    this.#port = port
    this.#commands = this.#open(!isSerial)
  }

  async create(topics: readonly string[], subscriptions: readonly string[]): Promise<void> {
    const groups = topics.flatMap((topic) => subscriptions.map((name) => [topic, name] as const))
    await Promise.all(groups.map(([topic, name]) => this.#commands.xgroup('CREATE', topic, name, '0', 'MKSTREAM')))
  }

  publisher(topic: string): (value: Uint8Array | object) => Promise<unknown> {
    return (value) => this.#commands.xadd(topic, '*', 'v', bytesOf(value))
  }

  async consume(consumption: Consumption): Promise<void> {
    const name = `consumer-${process.pid}-${this.#readers.length}`
    for (let at = 0; at < consumption.topics.length; at += STREAMS_A_READ) {
      const reader = this.#open(false)
      await reader.ping()
      this.#readers.push(reader)
      const loop = this.#read(reader, name, consumption.topics.slice(at, at + STREAMS_A_READ), consumption)
      this.#loops.push(loop)
    }
  }

  async stored(topic: string): Promise<number> {
    return this.#commands.xlen(topic)
  }

  async backlog(topics: readonly string[], subscription: string): Promise<number> {
    const counts = await Promise.all(topics.map((topic) => this.#unacked(topic, subscription)))
    return counts.reduce((sum, count) => sum + count, 0)
  }

  async #unacked(topic: string, subscription: string): Promise<number> {
    const groups = (await this.#commands.xinfo('GROUPS', topic)) as (string | number)[][]
    for (const group of groups) {
      const at = (field: string): unknown => group[group.indexOf(field) + 1]
      if (at('name') === subscription) return Number(at('pending')) + Number(at('lag'))
    }
    throw new Error(`no group ${subscription}`)
  }

  async close(): Promise<void> {
    this.#isClosing = true
    await Promise.all(this.#loops)
    for (const reader of this.#readers) reader.disconnect()
    await this.#commands.quit()
  }

  #open(enableAutoPipelining: boolean): Redis {
    const client = new Redis({ port: this.#port, enableAutoPipelining, maxRetriesPerRequest: null })
    client.on('error', () => undefined)
    return client
  }

  async #read(
    reader: Redis,
    name: string,
    topics: readonly string[],
    { subscription, prefetch, isBatchAcked, onMessage, onAcked }: Consumption,
  ): Promise<void> {
    const args = ['GROUP', subscription, name, 'COUNT', Math.min(READ_COUNT, prefetch), 'BLOCK', BLOCK_MS, 'STREAMS']
    const places = [...topics, ...topics.map(() => '>')]
    let unacked = 0
    const acked = (count: number): void => {
      unacked -= count
      onAcked(count)
    }
    while (!this.#isClosing) {
      const reply = (await reader.callBuffer('XREADGROUP', ...args, ...places)) as Reply
      for (let i = 0; reply && i < reply.length; i += 2) {
        const stream = reply[i] as Buffer
        const entries = reply[i + 1] as Entries
        unacked += entries.length
        for (const [id, fields] of entries) {
          onMessage(fields[1])
          if (!isBatchAcked) void this.#commands.xack(stream, subscription, id).then(acked)
        }
        if (isBatchAcked) void this.#commands.xack(stream, subscription, ...entries.map(([id]) => id)).then(acked)
      }
      // A consumer that reads on without bound would only move the backlog into its own memory.
      while (unacked >= prefetch) await new Promise((resolve) => setImmediate(resolve))
    }
    while (unacked > 0) await new Promise((resolve) => setTimeout(resolve, 1))
  }
}
