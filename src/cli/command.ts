/**
 * What a command of the CLI is: its words, its arguments and flags, an example, and where its code is, which is
 * loaded only when it runs. And what a running command is handed. The descriptions are in `*-commands.ts`.
 */
import type { Clock, Random } from '../base/clock.ts'
import type { BrokerApi } from './broker-api.ts'
import type { Call } from './call.ts'
import type { Words } from './flag.ts'
import type { Terminal } from './terminal.ts'

export type Run = (context: Context) => Promise<number>

export interface Command extends Words {
  summary: string
  /** More about it, for its help. */
  notes?: string
  examples: readonly string[]
  load(): Promise<Run>
}

export interface Context {
  call: Call
  /** All that there are. */
  commands: readonly Command[]
  terminal: Terminal
  clock: Clock
  random: Random
  /** The environment's variables. */
  env: Readonly<Record<string, string | undefined>>
  /** Made when it is first asked for: some commands need no broker. */
  readonly api: () => BrokerApi
}

/** `FAILED`: it could not be done, or something wrong was found. `MISUSED`: the command line cannot be used. */
export const EXIT = { done: 0, failed: 1, misused: 2, interrupted: 130 } as const

/** The command line cannot be used: exit code 2, and this sentence. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}
