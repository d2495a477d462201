/** Starts the client and the bare server of the benches, and reads the memory of a process. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { Figures, Job } from '../client.ts'

const JOB_MS = 600_000

/** Does one job in a client process of its own. */
export async function runJob(job: Job): Promise<Figures> {
  const child = fork(join(import.meta.dirname, '../client.js'), [], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  const timer = setTimeout(() => child.kill('SIGKILL'), JOB_MS)
  child.send(job)
  let figures: Figures | undefined
  child.once('message', (message) => {
    figures = message as Figures
  })
  const [code] = (await once(child, 'exit')) as [number | null]
  clearTimeout(timer)
  if (!figures) throw new Error(`the client of ${JSON.stringify(job)} ended with ${code} and no figures`)
  return figures
}

export class BareServer {
  readonly url: string
  readonly #child: ChildProcess

  private constructor(child: ChildProcess, port: number) {
    this.#child = child
    this.url = `http://127.0.0.1:${port}`
  }

  static async start(): Promise<BareServer> {
    const child = fork(join(import.meta.dirname, '../bare-server.js'))
    const [port] = (await once(child, 'message')) as [number]
    return new BareServer(child, port)
  }

  async stop(): Promise<void> {
    const exited = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await exited
  }
}

/** Resident bytes of a process; undefined where there is no /proc. */
export function residentBytes(pid: number): number | undefined {
  try {
    const line = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
    return line ? Number(line[1]) * 1024 : undefined
  } catch {
    return undefined
  }
}

/** Bytes on disk of all files below a directory: blocks in use, not lengths. */
export function diskBytes(path: string): number {
  const names = readdirSync(path, { recursive: true, encoding: 'utf8' })
  return names.reduce((sum, name) => sum + statSync(join(path, name)).blocks * 512, 0)
}
