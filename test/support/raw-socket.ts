/** A TCP connection that a test drives byte by byte, for what no HTTP client would send. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

export class RawSocket {
  readonly socket: Socket
  received = ''
  readonly closed: Promise<void>

  constructor(port: number) {
    this.socket = connect(port, '127.0.0.1')
    this.socket.on('data', (chunk) => {
      this.received += chunk.toString('latin1')
    })
    this.socket.on('error', () => undefined)
    this.closed = once(this.socket, 'close').then(() => undefined)
  }

  write(bytes: string | Buffer): void {
    this.socket.write(bytes)
  }

  /** Writes as fast as the peer takes it, until it closes or `bytes` are sent. Answers how many were. */
  async pour(chunk: Buffer, bytes: number): Promise<number> {
    let sent = 0
    while (sent < bytes && !this.socket.destroyed && !this.received) {
      sent += chunk.length
      if (!this.socket.write(chunk))
        await Promise.race([once(this.socket, 'drain').catch(() => undefined), this.closed])
    }
    return sent
  }

  async answer(): Promise<{ status: number; head: string; body: string }> {
    while (!this.received.includes('\r\n\r\n') && !this.socket.destroyed) {
      await Promise.race([once(this.socket, 'data').catch(() => undefined), this.closed])
    }
    const [head = '', body = ''] = this.received.split('\r\n\r\n', 2)
    return { status: Number(head.split(' ')[1]), head: head.toLowerCase(), body }
  }

  end(): void {
    this.socket.destroy()
  }
}
