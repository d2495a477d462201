/**
 * A TCP proxy between a client and a broker that does to connections what networks do: cuts them, loses answers, leaves
 * them half open, delays them, turns what the broker says into garbage. Faults are switched by the test.
 */
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

interface Pair {
  client: Socket
  broker: Socket
}

export class TcpProxy {
  /** Nothing passes in either direction, on connections old and new; none is closed. */
  isFrozen = false
  /** New connections are reset. */
  isRefusing = false
  delayMs = 0
  /** So many answers are lost: the connection is reset when the broker's next bytes come. */
  answersToLose = 0
  /** So many answers end in their middle, and the connection with them. */
  answersToTruncate = 0
  /** So many chunks of the broker's become noise. */
  chunksToGarble = 0
  connections = 0
  readonly #server: Server
  readonly #targetPort: number
  readonly #pairs = new Set<Pair>()

  private constructor(targetPort: number) {
    this.#targetPort = targetPort
    this.#server = createServer((client) => this.#accept(client))
  }

  static async start(targetPort: number): Promise<TcpProxy> {
    const proxy = new TcpProxy(targetPort)
    proxy.#server.listen(0, '127.0.0.1')
    await once(proxy.#server, 'listening')
    return proxy
  }

  get port(): number {
    const address = this.#server.address()
    if (address === null || typeof address === 'string') throw new Error('the proxy does not listen')
    return address.port
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`
  }

  /** Resets every connection. */
  cut(): void {
    for (const pair of this.#pairs) this.#reset(pair)
  }

  async stop(): Promise<void> {
    this.#server.close()
    this.cut()
    await once(this.#server, 'close')
  }

  #accept(client: Socket): void {
    this.connections++
    if (this.isRefusing) {
      client.on('error', () => undefined)
      client.resetAndDestroy()
      return
    }
    const broker = connect(this.#targetPort, '127.0.0.1')
    const pair = { client, broker }
    this.#pairs.add(pair)
    for (const socket of [client, broker]) {
      socket.setNoDelay(true)
      socket.on('error', () => undefined)
      socket.on('close', () => {
        this.#pairs.delete(pair)
        // A frozen network does not tell either that the other is gone.
        if (!this.isFrozen) for (const other of [client, broker]) other.destroy()
      })
    }
    client.on('data', (chunk) => void this.#pass(chunk, broker))
    broker.on('data', (chunk) => {
      if (this.answersToLose > 0) {
        this.answersToLose--
        this.#reset(pair)
      } else if (this.answersToTruncate > 0) {
        this.answersToTruncate--
        client.write(chunk.subarray(0, chunk.length >> 1), () => this.#reset(pair))
      } else if (this.chunksToGarble > 0) {
        this.chunksToGarble--
        void this.#pass(Buffer.from(chunk.map((byte) => byte ^ 0x5a)), client)
      } else void this.#pass(chunk, client)
    })
  }

  #reset({ client, broker }: Pair): void {
    client.resetAndDestroy()
    broker.resetAndDestroy()
  }

  async #pass(chunk: Buffer, to: Socket): Promise<void> {
    if (this.isFrozen) return
    if (this.delayMs > 0) await sleep(this.delayMs)
    if (!to.destroyed) to.write(chunk)
  }
}
