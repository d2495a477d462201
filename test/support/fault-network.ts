/**
 * The network of a cluster on loopback, which a test can cut: every connection passes a proxy that knows which two names it is
 * between, so that a broker can be cut from some and not from others, in both directions or in one. What is cut is
 * not closed: nothing arrives until it heals, and then what was sent arrives after all, as TCP does it by repeating.
 */
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'

/** Told by the first bytes of a connection; undefined: not yet to be told. */
export type CallerOf = (first: Buffer) => string | undefined

export interface Way {
  /** Who listens. */
  to: string
  host?: string
  /** Default: any that is free. */
  port?: number
  targetPort: number
  /** Who calls, where it is known before. */
  caller: string | CallerOf
}

interface Connection {
  caller: string | undefined
  to: string
  near: Socket
  far: Socket
}

const SNIFF_BYTES = 16_384

export class FaultNetwork {
  readonly #servers: Server[] = []
  readonly #connections = new Set<Connection>()
  /** `from>to`. */
  readonly #cuts = new Set<string>()
  /** Bytes that were held back by a cut, or would have been sent into one: without any the fault did not fire. */
  heldBack = 0

  /** Gives the port that it listens on. */
  async listen(way: Way): Promise<number> {
    const server = createServer((socket) => this.#accept(socket, way))
    this.#servers.push(server)
    server.listen(way.port ?? 0, way.host ?? '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    if (address === null || typeof address === 'string') throw new Error('the proxy does not listen')
    return address.port
  }

  /** Nothing passes from the one to the other; the other direction is cut by itself. */
  cut(from: string, to: string): void {
    this.#cuts.add(`${from}>${to}`)
    this.#apply()
  }

  heal(): void {
    this.#cuts.clear()
    this.#apply()
  }

  async stop(): Promise<void> {
    for (const server of this.#servers) server.close()
    for (const { near, far } of this.#connections) for (const socket of [near, far]) socket.destroy()
    await Promise.all(this.#servers.map((server) => once(server, 'close')))
  }

  #accept(near: Socket, { to, targetPort, caller }: Way): void {
    const far = connect(targetPort, '127.0.0.1')
    const connection: Connection = { caller: typeof caller === 'string' ? caller : undefined, to, near, far }
    this.#connections.add(connection)
    let first = Buffer.alloc(0)
    const recognize = (chunk: Buffer): void => {
      if (connection.caller !== undefined || typeof caller === 'string' || first.length > SNIFF_BYTES) return
      first = Buffer.concat([first, chunk])
      connection.caller = caller(first)
      this.#applyTo(connection)
    }
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      socket.setNoDelay(true)
      socket.on('error', () => undefined)
      socket.on('data', (chunk: Buffer) => {
        if (socket === near) recognize(chunk)
        // Paused by a cut while it was handed out: it is handed out again afterwards.
        if (this.#isCut(connection, socket)) {
          this.heldBack += chunk.length
          socket.unshift(chunk)
        } else if (!other.destroyed && !other.write(chunk)) {
          socket.pause()
          other.once('drain', () => this.#applyTo(connection))
        }
      })
      socket.on('close', () => {
        // Nobody hears through a cut that the other is gone.
        if (this.#isCut(connection, socket)) return
        this.#connections.delete(connection)
        other.destroy()
      })
    }
    this.#applyTo(connection)
  }

  #isCut({ caller, to, near }: Connection, socket: Socket): boolean {
    if (caller === undefined) return false
    return this.#cuts.has(socket === near ? `${caller}>${to}` : `${to}>${caller}`)
  }

  #apply(): void {
    for (const connection of this.#connections) this.#applyTo(connection)
  }

  #applyTo(connection: Connection): void {
    const { near, far } = connection
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      if (this.#isCut(connection, socket)) socket.pause()
      else if (socket.destroyed) other.destroy()
      else if (!other.writableNeedDrain) socket.resume()
    }
    if (near.destroyed && far.destroyed) this.#connections.delete(connection)
  }
}
