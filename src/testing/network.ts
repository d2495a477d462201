/**
 * What lies between the clients of a test and its broker: no port, no bytes on a wire, but requests that reach the
 * broker's own request handling, and sockets on which it opens its own sessions. Everything takes a turn of the
 * event loop, in the order in which it was sent. Owns all that is under way, so that it can be cut.
 */
import type { Platform, Random } from '@tidings/sdk/platform'
import type { Server } from '../server/app.ts'
import type { Activity } from './activity.ts'
import { MemoryHttp } from './memory-http.ts'
import { MemorySocket } from './memory-socket.ts'
import type { ProcessView } from './virtual-time.ts'

export class Network {
  readonly #activity: Activity
  readonly #https = new Set<MemoryHttp>()
  readonly #sockets = new Set<MemorySocket>()
  #server: Server | null = null

  constructor(activity: Activity) {
    this.#activity = activity
  }

  /** The broker that answers, or null: nobody does. */
  get server(): Server | null {
    return this.#server
  }

  /** From now on this broker answers. */
  attach(server: Server): void {
    this.#server = server
  }

  /** The broker is gone, as by kill -9: what is under way is lost, what comes is not taken. */
  detach(): void {
    this.#server = null
    this.cutRequests()
    this.cutSockets()
  }

  later(run: () => void): void {
    this.#activity.soon(run)
  }

  /** A client's surroundings. */
  platform(clock: ProcessView, random: Random): Platform {
    return {
      clock,
      random,
      http: () => {
        const http = new MemoryHttp(this, clock, () => this.#https.delete(http))
        this.#https.add(http)
        return http
      },
      connect: (url, protocol, token, events) => {
        const socket = new MemorySocket(this, { url, protocol, token }, events, () => this.#sockets.delete(socket))
        this.#sockets.add(socket)
        return socket
      },
    }
  }

  /** Requests that have been sent, and sockets over which messages are published, end without an answer. */
  cutPublishes(): void {
    this.cutRequests()
    for (const socket of this.#sockets) if (socket.isPublishing) socket.cut()
  }

  cutRequests(): void {
    for (const http of this.#https) http.cut()
  }

  cutSockets(): void {
    for (const socket of this.#sockets) socket.cut()
  }
}
