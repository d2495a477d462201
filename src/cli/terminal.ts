/**
 * The process's surroundings: its streams and signals, as a port and as Node has them. Output is awaited, so that a
 * slow reader slows the command; a reader that is gone (`| head`) is an orderly end, never a stack trace.
 */
import { createInterface } from 'node:readline/promises'
import { MessageChannel } from 'node:worker_threads'

export interface Terminal {
  /** Of standard output: a person looks at it. */
  readonly isInteractive: boolean
  readonly width: number | undefined
  readonly height: number | undefined
  /** Resolves with whether it was taken: false when nobody reads any more. */
  print(text: string): Promise<boolean>
  /** On standard error: for the person, not for the next program. */
  note(text: string): void
  /** One line that takes the place of the one before; only where a person looks at standard error. */
  status(text: string): void
  /** Standard input, or null where it is a keyboard. */
  readonly input: AsyncIterable<Uint8Array> | null
  /** What a person answers; null where there is nobody to ask. */
  ask(question: string): Promise<string | null>
  /** The command is over: the process can end. */
  close(): void
  /** Ctrl-C or SIGTERM, or nobody reads any more. From the first call on, signals no longer end the process by themselves. */
  ended(): AbortSignal
}

export class NodeTerminal implements Terminal {
  readonly #ending = new AbortController()
  /** Timers of the clock keep no process alive; this does, until the command is over. */
  readonly #alive = new MessageChannel()
  #isWatching = false
  #isGone = false
  #hasStatus = false
  #hasRead = false

  constructor() {
    this.#alive.port1.on('message', () => undefined)
    process.stdout.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error
      this.#isGone = true
      if (this.#isWatching) this.#ending.abort()
      else process.exit(0)
    })
    // Nothing can be said about a standard error that is gone.
    process.stderr.on('error', () => undefined)
  }

  get isInteractive(): boolean {
    return process.stdout.isTTY === true
  }

  get width(): number | undefined {
    return process.stdout.isTTY ? process.stdout.columns : undefined
  }

  get height(): number | undefined {
    return process.stdout.isTTY ? process.stdout.rows : undefined
  }

  print(text: string): Promise<boolean> {
    if (this.#isGone) return Promise.resolve(false)
    this.#wipe()
    return new Promise((resolve) => process.stdout.write(text, (error) => resolve(!error)))
  }

  note(text: string): void {
    this.#wipe()
    process.stderr.write(text)
  }

  status(text: string): void {
    if (process.stderr.isTTY !== true) return
    process.stderr.write(`\r\u001b[K${text.slice(0, (process.stderr.columns || 80) - 1)}`)
    this.#hasStatus = text !== ''
  }

  get input(): AsyncIterable<Uint8Array> | null {
    this.#hasRead = true
    return process.stdin.isTTY ? null : (process.stdin as AsyncIterable<Uint8Array>)
  }

  async ask(question: string): Promise<string | null> {
    if (!process.stdin.isTTY || !process.stderr.isTTY) return null
    const reader = createInterface({ input: process.stdin, output: process.stderr })
    try {
      return await reader.question(question)
    } finally {
      reader.close()
    }
  }

  close(): void {
    this.#alive.port1.close()
    if (this.#hasRead) process.stdin.destroy()
  }

  ended(): AbortSignal {
    if (!this.#isWatching) {
      this.#isWatching = true
      const stop = (): void => {
        // Whoever asks twice does not want to wait.
        if (this.#ending.signal.aborted) process.exit(130)
        this.#ending.abort()
      }
      process.on('SIGINT', stop)
      process.on('SIGTERM', stop)
      if (this.#isGone) this.#ending.abort()
    }
    return this.#ending.signal
  }

  #wipe(): void {
    if (!this.#hasStatus) return
    this.#hasStatus = false
    process.stderr.write('\r\u001b[K')
  }
}
