/** The bench's end of a client process: starts it, hears what it says, ends it. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { ClientJob, Order, Progress, Word } from './client-job.ts'

export class ClientProcess {
  readonly #child: ChildProcess
  readonly #heard = new Map<Word['type'], PromiseWithResolvers<Word>>()
  progress: Progress = { received: 0, acked: 0, distinct: 0 }
  onProgress: (() => void) | undefined
  /** Why it failed. */
  failure: Error | undefined

  constructor(job: ClientJob) {
    const path = join(import.meta.dirname, 'client.js')
    this.#child = fork(path, [], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
    this.#child.on('message', (message) => this.#hear(message as Word))
    this.#child.on('exit', (code) => this.#hear({ type: 'failed', text: `a client ended with ${code}` }))
    this.#child.send(job)
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  /** Resolves with the first word of a type, also one that was said before. Rejects when the client fails. */
  async heard<T extends Word['type']>(type: T): Promise<Extract<Word, { type: T }>> {
    return (await this.#promise(type).promise) as Extract<Word, { type: T }>
  }

  send(order: Order): void {
    if (this.#child.connected) this.#child.send(order)
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const exited = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await exited
  }

  #hear(word: Word): void {
    if (word.type === 'progress') {
      const { received, acked, distinct } = word
      this.progress = { received, acked, distinct }
      return this.onProgress?.()
    }
    if (word.type !== 'failed') return this.#promise(word.type).resolve(word)
    this.failure ??= new Error(word.text)
    for (const type of ['ready', 'consuming', 'from', 'to', 'done'] as const) this.#promise(type).reject(this.failure)
  }

  #promise(type: Word['type']): PromiseWithResolvers<Word> {
    let found = this.#heard.get(type)
    if (!found) {
      found = withResolvers()
      // Not everybody listens to every word.
      found.promise.catch(() => undefined)
      this.#heard.set(type, found)
    }
    return found
  }
}

interface PromiseWithResolvers<T> {
  promise: Promise<T>
  resolve: (value: T) => void
  reject: (error: Error) => void
}

function withResolvers<T>(): PromiseWithResolvers<T> {
  let resolve: (value: T) => void = () => undefined
  let reject: (error: Error) => void = () => undefined
  const promise = new Promise<T>((yes, no) => {
    resolve = yes
    reject = no
  })
  return { promise, resolve, reject }
}
