/**
 * A peer's server as a process of its own, in a process group of its own, with what it prints in a file of its
 * directory. Ended by its pid, with the group; at the latest when the bench ends.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const running = new Set<PeerProcess>()
process.once('exit', () => {
  for (const one of running) one.signal('SIGKILL')
})

export class PeerProcess {
  readonly #child: ChildProcess
  readonly #log: string

  constructor(command: readonly string[], directory: string, env: Readonly<Record<string, string>> = {}) {
    this.#log = join(directory, 'output.log')
    const output = openSync(this.#log, 'a')
    this.#child = spawn(command[0]!, command.slice(1), {
      stdio: ['ignore', output, output],
      detached: true,
      cwd: directory,
      env: { ...process.env, ...env },
    })
    running.add(this)
    this.#child.once('error', () => running.delete(this))
    this.#child.once('exit', () => running.delete(this))
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  get hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null || this.#child.pid === undefined
  }

  /** Asks until `isServing` says so. Throws what the process printed when it ends or takes longer than two minutes. */
  async serving(isServing: () => Promise<boolean>): Promise<void> {
    for (const giveUpAt = performance.now() + 120_000; ; ) {
      if (this.hasEnded || performance.now() > giveUpAt)
        throw new Error(`it does not serve: ${readFileSync(this.#log, 'utf8').slice(-2000)}`)
      if (await isServing().catch(() => false)) return
      await sleep(10)
    }
  }

  signal(name: NodeJS.Signals): void {
    if (this.hasEnded) return
    try {
      process.kill(-this.pid, name)
    } catch {
      this.#child.kill(name)
    }
  }

  async kill(): Promise<void> {
    if (this.hasEnded) return
    const exited = once(this.#child, 'exit')
    this.signal('SIGKILL')
    await exited
  }
}
