/**
 * Runs one command of the CLI: reads its words, loads its code, says what went wrong, and gives the exit code. Everything
 * but `serve` comes through here.
 */
import type { Clock, Random } from '../base/clock.ts'
import { BrokerApi } from './broker-api.ts'
import { EXIT } from './command.ts'
import { readCommandLine } from './command-line.ts'
import { COMMANDS } from './commands.ts'
import { failureOf, failureText } from './failure.ts'
import { commandHelp, groupHelp, overview } from './help.ts'
import { placeOf } from './place.ts'
import type { Terminal } from './terminal.ts'

export interface Ports {
  terminal: Terminal
  clock: Clock
  random: Random
  env: Readonly<Record<string, string | undefined>>
}

export async function runCommand(argv: readonly string[], ports: Ports): Promise<number> {
  const { terminal, clock, env } = ports
  let isJson = argv.includes('--json')
  try {
    const [first, second] = argv
    if (first === undefined || first === '--help' || first === '-h' || (first === 'help' && second === undefined)) {
      await terminal.print(overview(COMMANDS))
      return EXIT.done
    }
    const reading = readCommandLine(COMMANDS, argv, { env, now: clock.now() })
    if (reading.kind === 'help') {
      await terminal.print(commandHelp(reading.command))
      return EXIT.done
    }
    if (reading.kind === 'group') {
      await terminal.print(groupHelp(COMMANDS, reading.group))
      return EXIT.done
    }
    const { call, command } = reading
    isJson = call.isOn('json')
    const run = await command.load()
    return await run({ ...ports, call, commands: COMMANDS, api: () => new BrokerApi(placeOf(call)) })
  } catch (error) {
    const failure = failureOf(error)
    terminal.note(failureText(failure, isJson))
    return failure.exitCode
  }
}
