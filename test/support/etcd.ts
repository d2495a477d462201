/**
 * An etcd of the test's own, from Debian's package: one member, with its data in a temporary directory, on free loopback
 * ports, gone with the test. It can be killed, started again on the same data, and stopped in its tracks.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Agent, request } from 'undici'
import { freePort } from './broker-process.ts'
import { ensureProgram } from './debian-package.ts'

const START_MS = 30_000
const OUTPUT_BYTES = 65_536

const running = new Set<ChildProcess>()
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

export interface EtcdOptions {
  flags?: readonly string[]
  /** It speaks TLS; flags give it its certificate, and these are for whoever asks it. PEM texts. */
  tls?: { ca: string; cert: string; key: string }
}

export class Etcd {
  readonly url: string
  readonly #program: string
  readonly #directory = mkdtempSync(join(tmpdir(), 'tidings-etcd-'))
  readonly port: number
  readonly #peerPort: number
  readonly #flags: readonly string[]
  readonly #agent: Agent
  #child: ChildProcess | null = null
  #output = ''

  private constructor(program: string, ports: readonly [number, number], { flags = [], tls }: EtcdOptions) {
    this.#program = program
    ;[this.port, this.#peerPort] = ports
    this.#flags = flags
    this.#agent = new Agent({ connect: { ...tls } })
    this.url = `${tls ? 'https' : 'http'}://127.0.0.1:${this.port}`
  }

  static async start(options: EtcdOptions = {}): Promise<Etcd> {
    const program = await ensureProgram('etcd', 'etcd-server')
    const etcd = new Etcd(program, [await freePort(), await freePort()], options)
    await etcd.start()
    return etcd
  }

  /** Starts it, again on the data that it left. */
  async start(): Promise<void> {
    const peer = `http://127.0.0.1:${this.#peerPort}`
    const flags = {
      name: 'test',
      'data-dir': join(this.#directory, 'data'),
      'log-level': 'warn',
      'listen-client-urls': this.url,
      'advertise-client-urls': this.url,
      'listen-peer-urls': peer,
      'initial-advertise-peer-urls': peer,
      'initial-cluster': `test=${peer}`,
    }
    const words = Object.entries(flags).map(([name, value]) => `--${name}=${value}`)
    const child = spawn(this.#program, [...words, ...this.#flags], {
      cwd: this.#directory,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.#child = child
    running.add(child)
    child.once('exit', () => running.delete(child))
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.#output = (this.#output + text).slice(-OUTPUT_BYTES)
      })
    }
    const deadline = performance.now() + START_MS
    while (performance.now() < deadline && child.exitCode === null) {
      if (await this.#serves()) return
      await sleep(30)
    }
    throw new Error(`etcd did not start:\n${this.#output}`)
  }

  /** It has a leader: one that is killed before has written down nothing, not even that it is a member. */
  async #serves(): Promise<boolean> {
    const { leader } = await this.ask('/v3/maintenance/status', {}).catch((): Record<string, unknown> => ({}))
    return leader !== undefined && leader !== '0'
  }

  /** Asks its JSON gateway, as somebody else would. */
  async ask(path: string, body: object): Promise<Record<string, unknown>> {
    const options = { method: 'POST', body: JSON.stringify(body), dispatcher: this.#agent } as const
    const answer = await request(this.url + path, options)
    const json = (await answer.body.json()) as Record<string, unknown>
    if (answer.statusCode !== 200) throw new Error(`etcd answers ${path} with ${JSON.stringify(json)}`)
    return json
  }

  /** Forgets all changes up to now. */
  async compact(): Promise<void> {
    const { header } = await this.ask('/v3/kv/range', { key: 'AA==' })
    await this.ask('/v3/kv/compaction', { revision: (header as { revision: string }).revision, physical: true })
  }

  /** Copies its data; it must not run. */
  backUp(): void {
    cpSync(join(this.#directory, 'data'), join(this.#directory, 'backup'), { recursive: true })
  }

  /** Puts the copy in the place of its data; it must not run. */
  restore(): void {
    rmSync(join(this.#directory, 'data'), { recursive: true })
    cpSync(join(this.#directory, 'backup'), join(this.#directory, 'data'), { recursive: true })
  }

  /** Lets it live for so long: no test drives its clock. */
  live(ms: number): Promise<void> {
    return sleep(ms)
  }

  async kill(): Promise<void> {
    await this.#end('SIGKILL')
  }

  pause(): void {
    this.#child?.kill('SIGSTOP')
  }

  resume(): void {
    this.#child?.kill('SIGCONT')
  }

  /** Ends it and removes its data. */
  async stop(): Promise<void> {
    await this.#end('SIGKILL')
    await this.#agent.destroy()
    rmSync(this.#directory, { recursive: true, force: true })
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child
    if (child && child.exitCode === null && child.signalCode === null && child.kill(signal)) await once(child, 'exit')
    this.#child = null
  }
}
