/**
 * The built broker as a process of its own: started on a free loopback port and a fresh data directory,
 * killed, drained and started again on the same ones. Knows the broker only by API.md. Everything that is
 * started here is ended and removed by `stopAll`, which tests call after each test, and at process exit.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

export interface Exit {
  code: number | null
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
}

export interface BrokerOptions {
  /** More flags of `serve`. */
  flags?: readonly string[]
  env?: Readonly<Record<string, string>>
  /** Given: not removed at the end. */
  dataDir?: string
  port?: number
  /** A command and its arguments to run node under, such as strace. */
  under?: readonly string[]
  readyTimeoutMs?: number
  /** Another build than this checkout's. */
  main?: string
}

const OUTPUT_BYTES = 4 * 1_048_576
const running = new Set<ChildProcess>()
const directories = new Set<string>()

process.once('exit', () => {
  for (const child of running) killGroup(child, 'SIGKILL')
  for (const path of directories) rmSync(path, { recursive: true, force: true })
})

/** The repository's root, from the source tree as from a build of it. */
export const ROOT = findRoot(import.meta.dirname)
export const MAIN = join(ROOT, 'dist/main.js')

export function temporaryDirectory(): string {
  const path = mkdtempSync(join(tmpdir(), 'tidings-'))
  directories.add(path)
  return path
}

export async function freePort(): Promise<number> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('no port was given')
  return address.port
}

/** Ends every process and removes every directory made here. */
export async function stopAll(): Promise<void> {
  const children = [...running]
  for (const child of children) killGroup(child, 'SIGKILL')
  await Promise.all(children.map(ended))
  for (const path of directories) rmSync(path, { recursive: true, force: true })
  directories.clear()
}

/** Runs the CLI until it ends by itself (or `timeoutMs` is over, and then it is killed: code null). */
export async function runCli(
  args: readonly string[],
  timeoutMs = 20_000,
  env: Readonly<Record<string, string>> = {},
): Promise<Exit> {
  const captured = launch([process.execPath, MAIN, ...args], env)
  const timer = setTimeout(() => killGroup(captured.child, 'SIGKILL'), timeoutMs)
  await ended(captured.child)
  clearTimeout(timer)
  return captured.exit()
}

/** Runs a script in bash, where `tidings` is the CLI, `$NODE` and `$MAIN` are what it is started with. */
export async function runShell(
  script: string,
  env: Readonly<Record<string, string>> = {},
  timeoutMs = 60_000,
): Promise<Exit> {
  const words = ['bash', '-c', `tidings() { "$NODE" "$MAIN" "$@"; }\n${script}`]
  const captured = launch(words, { NODE: process.execPath, MAIN, ...env })
  const timer = setTimeout(() => killGroup(captured.child, 'SIGKILL'), timeoutMs)
  await ended(captured.child)
  clearTimeout(timer)
  return captured.exit()
}

export interface Program {
  /** What it has printed on standard output. */
  output(): string
  /** Waits for it to end by itself. */
  ended(): Promise<Exit>
  /** SIGTERM, and waits for it to end; past 20 s it is killed. */
  terminate(): Promise<Exit>
}

/** Another program, which `stopAll` ends too. */
export function startProgram(command: readonly string[], env: Readonly<Record<string, string>>): Program {
  const { child, exit } = launch(command, env)
  const end = async (): Promise<Exit> => {
    await ended(child)
    return exit()
  }
  return {
    output: () => exit().stdout,
    ended: end,
    async terminate() {
      child.kill('SIGTERM')
      const timer = setTimeout(() => killGroup(child, 'SIGKILL'), 20_000)
      const exited = await end()
      clearTimeout(timer)
      return exited
    },
  }
}

export class BrokerProcess {
  readonly dataDir: string
  readonly port: number
  readonly #options: BrokerOptions
  #current: Captured | undefined

  private constructor(options: BrokerOptions, port: number) {
    this.#options = options
    this.dataDir = options.dataDir ?? join(temporaryDirectory(), 'data')
    this.port = port
  }

  /** Starts a broker and waits until it is ready. */
  static async start(options: BrokerOptions = {}): Promise<BrokerProcess> {
    const broker = new BrokerProcess(options, options.port ?? (await freePort()))
    await broker.restart()
    return broker
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`
  }

  get webSocketUrl(): string {
    return `ws://127.0.0.1:${this.port}`
  }

  /** The process id of the broker; of the command that it runs under, where there is one. */
  get pid(): number {
    const pid = this.#current?.child.pid
    if (pid === undefined) throw new Error('the broker is not running')
    return pid
  }

  /** Everything that the present or last process printed. */
  get output(): string {
    const exit = this.#current?.exit()
    return exit ? exit.stdout + exit.stderr : ''
  }

  /** Starts it on the same port and directory after it ended. Gives the time to readiness. */
  async restart(): Promise<number> {
    const { flags = [], env = {}, under = [], main = MAIN } = this.#options
    if (!existsSync(main)) throw new Error(`${main} is not there: run \`npm run build\` first`)
    const serve = ['serve', '--host', '127.0.0.1', '--port', String(this.port), '--data-dir', this.dataDir, ...flags]
    const startedAt = performance.now()
    this.#current = launch([...under, process.execPath, main, ...serve], env)
    await this.ready(this.#options.readyTimeoutMs ?? 60_000)
    return performance.now() - startedAt
  }

  async ready(timeoutMs: number): Promise<void> {
    const deadline = performance.now() + timeoutMs
    for (;;) {
      const child = this.#current?.child
      if (!child || hasEnded(child)) throw new Error(`the broker ended before it was ready:\n${this.output}`)
      const answer = await fetch(`${this.url}/readyz`, { signal: AbortSignal.timeout(2000) }).catch(() => undefined)
      await answer?.arrayBuffer()
      if (answer?.status === 200) return
      if (performance.now() > deadline)
        throw new Error(`the broker was not ready after ${timeoutMs} ms:\n${this.output}`)
      await sleep(10)
    }
  }

  /** kill -9, and waits until the process is gone. */
  async kill(): Promise<Exit> {
    return this.#end('SIGKILL', 10_000)
  }

  /** SIGTERM, and waits for the process to end by itself. */
  async terminate(timeoutMs = 20_000): Promise<Exit> {
    return this.#end('SIGTERM', timeoutMs)
  }

  /** Waits for the process to end without doing anything to it. */
  async exited(timeoutMs: number): Promise<Exit> {
    return this.#end(undefined, timeoutMs)
  }

  async #end(signal: NodeJS.Signals | undefined, timeoutMs: number): Promise<Exit> {
    const current = this.#current
    if (!current) throw new Error('the broker is not running')
    if (signal === 'SIGKILL') killGroup(current.child, signal)
    else if (signal) current.child.kill(signal)
    const timer = setTimeout(() => killGroup(current.child, 'SIGKILL'), timeoutMs)
    await ended(current.child)
    clearTimeout(timer)
    return current.exit()
  }
}

interface Captured {
  child: ChildProcess
  exit(): Exit
}

/** In a process group of its own, so that what runs under another command is ended with it. */
function launch(command: readonly string[], env: Readonly<Record<string, string>>): Captured {
  const inherited = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('TIDINGS_')))
  const child = spawn(command[0]!, command.slice(1), {
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
    env: { ...inherited, ...env },
  })
  running.add(child)
  child.once('error', () => running.delete(child))
  child.once('exit', () => running.delete(child))
  const text = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (chunk: string) => {
      text[name] = (text[name] + chunk).slice(-OUTPUT_BYTES)
    })
  }
  return { child, exit: () => ({ code: child.exitCode, signal: child.signalCode, ...text }) }
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null || child.pid === undefined
}

async function ended(child: ChildProcess): Promise<void> {
  if (hasEnded(child) && child.stdout?.destroyed !== false) return
  await once(child, 'close').catch(() => undefined)
}

function killGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return
  try {
    process.kill(-child.pid, signal)
  } catch {
    child.kill(signal)
  }
}

function findRoot(from: string): string {
  for (let path = from; path !== dirname(path); path = dirname(path)) {
    if (existsSync(join(path, 'package-lock.json'))) return path
  }
  throw new Error(`no repository above ${from}`)
}
