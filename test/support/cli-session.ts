/**
 * The CLI within the test's process: the commands as they are, on a terminal that records and that a test can end as
 * Ctrl-C or a closed pipe would. Much faster than a process a command; what only a process shows is in test/process.
 */
import { systemClock, systemRandom } from '../../src/base/clock.ts'
import { runCommand } from '../../src/cli/run.ts'
import type { Terminal } from '../../src/cli/terminal.ts'

export interface CliExit {
  code: number
  stdout: string
  stderr: string
}

export class RecordedTerminal implements Terminal {
  readonly isInteractive = false
  readonly width = undefined
  readonly height = undefined
  readonly input: AsyncIterable<Uint8Array> | null
  stdout = ''
  stderr = ''
  /** Called after each print. */
  onPrint: (text: string) => void = () => undefined
  /** From then on nobody reads. */
  isGone = false
  readonly #ending = new AbortController()

  constructor(input: AsyncIterable<Uint8Array> | null = null) {
    this.input = input
  }

  async print(text: string): Promise<boolean> {
    if (this.isGone) return false
    this.stdout += text
    this.onPrint(text)
    return true
  }

  note(text: string): void {
    this.stderr += text
  }

  status(): void {}

  ask(): Promise<null> {
    return Promise.resolve(null)
  }

  ended(): AbortSignal {
    return this.#ending.signal
  }

  close(): void {}

  /** Ctrl-C. */
  interrupt(): void {
    this.#ending.abort()
  }
}

export class CliSession {
  readonly #url: string

  constructor(url: string) {
    this.#url = url
  }

  run(...words: string[]): Promise<CliExit> {
    return this.runOn(new RecordedTerminal(), ...words)
  }

  async runOn(terminal: RecordedTerminal, ...words: string[]): Promise<CliExit> {
    const ports = { terminal, clock: systemClock, random: systemRandom, env: { TIDINGS_URL: this.#url } }
    const code = await runCommand(words, ports)
    return { code, stdout: terminal.stdout, stderr: terminal.stderr }
  }

  /** Standard input is `text`, in pieces of so many characters. */
  async piped(text: string | Uint8Array, ...words: string[]): Promise<CliExit> {
    const bytes = typeof text === 'string' ? Buffer.from(text) : text
    return this.runOn(new RecordedTerminal(pieces(bytes)), ...words)
  }

  /** What it printed; it must succeed. */
  async text(...words: string[]): Promise<string> {
    const exit = await this.run(...words)
    if (exit.code !== 0) throw new Error(`${words.join(' ')}: ${exit.code} ${exit.stderr}`)
    return exit.stdout
  }

  // The tests look into answers of many shapes; each names what it expects.
  // oxlint-disable-next-line typescript/no-explicit-any
  async json(...words: string[]): Promise<any> {
    return JSON.parse(await this.text(...words, '--json'))
  }
}

const PIECE = 1000

async function* pieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += PIECE) yield bytes.subarray(at, at + PIECE)
}
