/**
 * The network between brokers over TCP, with mutual TLS where certificates are given: a frame is its length in a u32 and its
 * bytes; one of length 0 only says that the other end is there. The adapter of peer-network.ts over node:net and node:tls.
 *
 * Must stay true: nobody is believed more than `HELLO_BYTES_MAX` bytes before its hello, nor a longer time; with TLS the
 * hello's name stands in the certificate; an end that is silent for `deadMs` is gone, whatever TCP thinks of it.
 */
import net from 'node:net'
import tls from 'node:tls'
import { TidingsError } from '@tidings/sdk/protocol'
import type { Clock, Timer } from '../base/clock.ts'
import type { Logger } from '../base/telemetry.ts'
import { BATCH_BYTES_MAX } from '../log/record-batch.ts'
import { FrameAssembler } from './frame-assembler.ts'
import {
  LINK_LOW_BYTES,
  type LinkEvents,
  type LinkTaker,
  type Listening,
  type PeerLink,
  type PeerNetwork,
} from './peer-network.ts'
import { commonVersion, decodeHello, encodeHello, HELLO_BYTES_MAX, type Hello } from './peer-protocol.ts'

/** PEM texts: this broker's key and certificate, and who signed those of the brokers. */
export interface PeerCertificates {
  key: string
  cert: string
  ca: string
}

export interface TcpNetworkOptions {
  /** Where to listen; port 0: any that is free. */
  host: string
  port: number
  hello(): Hello
  clock: Clock
  logger: Logger
  /** Asked for each link, so that renewed ones are used; null: without TLS. */
  certificates(): PeerCertificates | null
  heartbeatMs?: number
  deadMs?: number
  /** From dialing to the other's hello. */
  dialTimeoutMs?: number
}

const FRAME_BYTES_MAX = BATCH_BYTES_MAX + 65_536
/** Parts that are shorter than this together are sent as one piece. */
const SMALL_BYTES = 4096
const LINKS_MAX = 1024
const HEARTBEAT = Buffer.alloc(4)

interface Times {
  clock: Clock
  heartbeatMs: number
  deadMs: number
  dialTimeoutMs: number
}

export class TcpNetwork implements PeerNetwork {
  readonly #options: TcpNetworkOptions
  readonly #times: Times

  constructor(options: TcpNetworkOptions) {
    this.#options = options
    const { clock, heartbeatMs = 1000, deadMs = 3000, dialTimeoutMs = 3000 } = options
    this.#times = { clock, heartbeatMs, deadMs, dialTimeoutMs }
  }

  dial(peer: { nodeId: string; address: string }, take: LinkTaker): Promise<void> {
    return new Promise((resolve, reject) => {
      const socket = this.#connect(peer.address)
      let isTaken = false
      const link = new TcpLink(socket, this.#options.hello(), this.#times, {
        isExpected: (hello) => hello.nodeId === peer.nodeId,
        take: (taken) => {
          isTaken = true
          const events = take(taken)
          resolve()
          return events
        },
        closed: (why) => {
          if (!isTaken) reject(new TidingsError('unavailable', `${peer.nodeId} at ${peer.address}: ${why}`))
        },
      })
      socket.once(socket instanceof tls.TLSSocket ? 'secureConnect' : 'connect', () => link.greet())
    })
  }

  async listen(take: LinkTaker): Promise<Listening> {
    const { host, port, logger } = this.#options
    const links = new Set<TcpLink>()
    const accept = (socket: net.Socket): void => {
      const link: TcpLink = new TcpLink(socket, this.#options.hello(), this.#times, {
        isExpected: () => true,
        take,
        closed: (why) => {
          links.delete(link)
          logger.debug({ from: socket.remoteAddress, why }, 'a link of a broker is over')
        },
      })
      links.add(link)
      link.greet()
    }
    const server = this.#server(accept)
    server.maxConnections = LINKS_MAX
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(port, host, resolve)
    })
    server.removeAllListeners('error')
    server.on('error', (error) => logger.warn({ error }, 'brokers cannot be taken for the moment'))
    const bound = server.address() as net.AddressInfo
    return {
      address: bound.family === 'IPv6' ? `[${bound.address}]:${bound.port}` : `${bound.address}:${bound.port}`,
      close: async () => {
        const closed = new Promise<void>((resolve) => void server.close(() => resolve()))
        for (const link of links) link.close('the broker stops')
        await closed
      },
    }
  }

  #server(accept: (socket: net.Socket) => void): net.Server {
    const certificates = this.#options.certificates()
    if (!certificates) return net.createServer({ noDelay: true }, accept)
    const server = tls.createServer(
      {
        noDelay: true,
        requestCert: true,
        rejectUnauthorized: true,
        minVersion: 'TLSv1.3',
        handshakeTimeout: this.#times.dialTimeoutMs,
        // Asked for each connection: a certificate that was renewed is used without a restart.
        SNICallback: (_, done) => this.#secure(done),
        ...certificates,
      },
      accept,
    )
    server.on('tlsClientError', (error) => this.#options.logger.debug({ error }, 'somebody is no broker of ours'))
    return server
  }

  /** While they are renewed the files may be missing, or not belong together: that costs a connection, not the broker. */
  #secure(done: (error: Error | null, context?: tls.SecureContext) => void): void {
    let context: tls.SecureContext
    try {
      context = tls.createSecureContext({ ...this.#options.certificates() })
    } catch (error) {
      this.#options.logger.warn({ error }, 'the certificates of this broker cannot be used: others cannot reach it')
      return done(error as Error)
    }
    done(null, context)
  }

  #connect(address: string): net.Socket {
    const colon = address.lastIndexOf(':')
    const host = address.slice(0, colon).replace(/^\[(.*)\]$/, '$1')
    const port = Number(address.slice(colon + 1))
    const certificates = this.#options.certificates()
    if (!certificates) return net.connect({ host, port, noDelay: true })
    // The name in the certificate is the broker's, which is compared with its hello; where it is reached says nothing.
    const identity = { checkServerIdentity: () => undefined, servername: 'broker.invalid' }
    const socket = tls.connect({ host, port, ...certificates, ...identity, minVersion: 'TLSv1.3' })
    return socket.setNoDelay(true)
  }
}

interface LinkOwner {
  isExpected(hello: Hello): boolean
  take: LinkTaker
  /** Over, taken or not. */
  closed(why: string): void
}

class TcpLink implements PeerLink {
  peer!: Hello
  version = 0
  readonly #socket: net.Socket
  readonly #mine: Hello
  readonly #times: Times
  readonly #owner: LinkOwner
  readonly #frames = new FrameAssembler(HELLO_BYTES_MAX)
  #events: LinkEvents | null = null
  #isOver = false
  #isHigh = false
  #hasSent = false
  #heardAt: number
  #timer: Timer

  constructor(socket: net.Socket, mine: Hello, times: Times, owner: LinkOwner) {
    this.#socket = socket
    this.#mine = mine
    this.#times = times
    this.#owner = owner
    this.#heardAt = times.clock.monotonic()
    this.#timer = times.clock.after(times.dialTimeoutMs, () => this.#end('no answer in time'))
    socket.on('data', (chunk: Buffer) => this.#read(chunk))
    socket.on('error', (error) => this.#end(error.message))
    socket.on('close', () => this.#end('the connection ended'))
  }

  get buffered(): number {
    return this.#socket.writableLength
  }

  /** The connection stands: says who this is. */
  greet(): void {
    if (!this.#isOver) this.#write([encodeHello(this.#mine)])
  }

  send(...parts: readonly Uint8Array[]): void {
    if (!this.#isOver) this.#write(parts)
  }

  close(why: string): void {
    this.#end(why)
  }

  #write(parts: readonly Uint8Array[]): void {
    const length = parts.reduce((sum, part) => sum + part.length, 0)
    const head = Buffer.allocUnsafe(4)
    head.writeUInt32BE(length)
    this.#hasSent = true
    const flushed = (): void => this.#flushed()
    if (length <= SMALL_BYTES) this.#socket.write(Buffer.concat([head, ...parts]), flushed)
    else {
      this.#socket.cork()
      this.#socket.write(head)
      parts.forEach((part, at) => this.#socket.write(part, at === parts.length - 1 ? flushed : undefined))
      this.#socket.uncork()
    }
    if (this.buffered > LINK_LOW_BYTES) this.#isHigh = true
  }

  #flushed(): void {
    if (!this.#isHigh || this.#isOver || this.buffered > LINK_LOW_BYTES) return
    this.#isHigh = false
    this.#events?.drained()
  }

  #read(chunk: Buffer): void {
    this.#heardAt = this.#times.clock.monotonic()
    try {
      this.#frames.push(chunk)
      for (let frame = this.#frames.next(); frame && !this.#isOver; frame = this.#frames.next()) {
        if (this.#events) this.#events.frame(frame)
        else this.#greeted(frame)
      }
    } catch (error) {
      this.#end(TidingsError.from(error).message)
    }
  }

  #greeted(frame: Buffer): void {
    const hello = decodeHello(frame)
    const version = commonVersion(this.#mine, hello)
    if (version === null) return this.#end(`it speaks versions ${hello.oldest} to ${hello.newest} only`)
    if (!this.#owner.isExpected(hello)) return this.#end(`it is ${hello.nodeId}`)
    if (this.#socket instanceof tls.TLSSocket && !namesOf(this.#socket).includes(hello.nodeId)) {
      return this.#end(`its certificate is not for ${hello.nodeId}`)
    }
    this.peer = hello
    this.version = version
    this.#frames.limitBytes = FRAME_BYTES_MAX
    this.#timer.cancel()
    this.#beat()
    this.#events = this.#owner.take(this)
  }

  /** Says that this end is there when nothing else was said, and listens for the other's saying so. */
  #beat(): void {
    const { clock, heartbeatMs, deadMs } = this.#times
    this.#timer = clock.after(heartbeatMs, () => {
      if (!this.#hasSent) this.#socket.write(HEARTBEAT)
      this.#hasSent = false
      const heardAt = this.#heardAt
      if (clock.monotonic() - heardAt < deadMs) return this.#beat()
      // What has arrived while this process stood still has not been read yet.
      clock.soon(() => {
        if (this.#isOver) return
        if (this.#heardAt === heardAt) this.#end('nothing was heard for too long')
        else this.#beat()
      })
    })
  }

  #end(why: string): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#timer.cancel()
    this.#socket.destroy()
    const events = this.#events
    this.#times.clock.soon(() => {
      events?.closed(why)
      this.#owner.closed(why)
    })
  }
}

/** The names in the other end's certificate, which one of ours has signed. */
function namesOf(socket: tls.TLSSocket): string[] {
  const { subject, subjectaltname = '' } = socket.getPeerCertificate()
  const names = [...subjectaltname.matchAll(/(?:^|, )DNS:([^,"]+)/g)].map((match) => match[1]!)
  const common: string | string[] | undefined = subject?.CN
  return names.concat(common ?? [])
}
