/**
 * Reads a request's raw body, whatever its type, never more of it than allowed: a declared length is
 * checked before a byte is read, and a body that runs over its limit is cut off while it streams. The
 * bytes that all unfinished bodies hold together are bounded too. Called by the publish routes; JSON
 * bodies of the other routes are small and fastify reads them.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { TidingsError } from '@tidings/sdk/protocol'
import type { Clock } from '../base/clock.ts'
import type { Answer } from './problem.ts'

/** Calls back once; not at all when the client went away, for then nobody is left to answer. */
export type BodyDone = (error: TidingsError | null, body: Buffer) => void

/** How long a refused body is still read and dropped, so that its sender gets to see the answer. */
const LINGER_MS = 1000
/** A body that is cheaper to read to its end than a new connection. */
const SMALL_BODY_BYTES = 65_536

const EMPTY = Buffer.alloc(0)

export class BodyReader {
  readonly #maxHeldBytes: number
  #heldBytes = 0

  /** `maxHeldBytes` bounds what unfinished bodies hold together. */
  constructor(maxHeldBytes: number) {
    this.#maxHeldBytes = maxHeldBytes
  }

  get heldBytes(): number {
    return this.#heldBytes
  }

  read(request: IncomingMessage, limitBytes: number, done: BodyDone): void {
    const declared = request.headers['content-length']
    if (declared !== undefined && Number(declared) > limitBytes) {
      done(tooLarge(limitBytes), EMPTY)
      return
    }
    let first: Buffer | undefined
    let more: Buffer[] | undefined
    let bytes = 0
    let held = 0
    const release = (): void => {
      this.#heldBytes -= held
      held = 0
    }
    const onData = (chunk: Buffer): void => {
      bytes += chunk.length
      if (first === undefined && bytes <= limitBytes) {
        first = chunk
        return
      }
      if (bytes > limitBytes) return fail(tooLarge(limitBytes))
      held += chunk.length
      this.#heldBytes += chunk.length
      if (this.#heldBytes > this.#maxHeldBytes) {
        return fail(new TidingsError('overloaded', 'too many large requests are being received: try again'))
      }
      // Most bodies are one chunk, hold nothing, and need nobody to listen for the end of their connection.
      if (!more) request.once('close', release)
      more ??= []
      more.push(chunk)
    }
    const fail = (error: TidingsError): void => {
      request.off('data', onData).off('end', onEnd)
      release()
      done(error, EMPTY)
    }
    const onEnd = (): void => {
      release()
      done(null, more ? Buffer.concat([first ?? EMPTY, ...more], bytes) : (first ?? EMPTY))
    }
    request.on('data', onData).on('end', onEnd)
  }
}

/**
 * Answers a request whose body may still be coming. What little is left of a small body is dropped by
 * Node and the connection lives on. A large one ends with its connection, when it has been sent or a
 * moment has passed: closed at once, the kernel's reset would overtake the answer.
 */
export function answerEarly(request: IncomingMessage, response: ServerResponse, answer: Answer, clock: Clock): void {
  const headers = { ...answer.headers, 'content-length': Buffer.byteLength(answer.body) }
  if (request.complete || isSmall(request)) {
    response.writeHead(answer.status, headers)
    response.end(answer.body)
    return
  }
  response.writeHead(answer.status, { ...headers, connection: 'close' })
  response.write(answer.body)
  const timer = clock.after(LINGER_MS, () => response.end())
  const finish = (): void => {
    timer.cancel()
    response.end()
  }
  request.once('end', finish).once('close', finish).resume()
}

function isSmall(request: IncomingMessage): boolean {
  const declared = request.headers['content-length']
  if (declared === undefined) return request.headers['transfer-encoding'] === undefined
  return Number(declared) <= SMALL_BODY_BYTES
}

function tooLarge(limitBytes: number): TidingsError {
  return new TidingsError('message_too_large', `the body is larger than ${limitBytes} bytes`)
}
