#!/usr/bin/env node
/**
 * The edge of the process: which command it is, and with what exit code it ends. Exit codes: 0 done, 1 when it could not
 * be done, 2 for a command line or configuration that cannot be used, 70 when a broker failed while it ran. Only what
 * the command needs is loaded.
 */
import { readFileSync } from 'node:fs'
import { isServeLine, readServeLine } from './cli/serve-line.ts'

const EXIT = { cannotRun: 1, misused: 2 } as const

function version(): string {
  const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }
  return manifest.version
}

/** One line for the person who started us, then the end. */
function fail(code: number, message: string): never {
  process.stderr.write(`tidings: ${message.replaceAll(/\s*\n\s*/g, ' ')}\n`)
  process.exit(code)
}

async function start(argv: readonly string[]): Promise<void> {
  const line = readServeLine(argv, process.env, (path) => readFileSync(path, 'utf8'))
  if (line.kind === 'refused') fail(EXIT.misused, line.message)
  if (line.kind === 'help') process.stdout.write(`${line.text}\n`)
  if (line.kind === 'version') process.stdout.write(`${version()}\n`)
  if (line.kind !== 'serve') return
  const [{ serve }, { startProblem }] = await Promise.all([import('./cli/serve.ts'), import('./cli/start-problem.ts')])
  await serve(line.config, version()).catch((error: unknown) => fail(EXIT.cannotRun, startProblem(error)))
}

async function run(argv: readonly string[]): Promise<void> {
  const [{ runCommand }, { NodeTerminal }, { systemClock, systemRandom }] = await Promise.all([
    import('./cli/run.ts'),
    import('./cli/terminal.ts'),
    import('./base/clock.ts'),
  ])
  const terminal = new NodeTerminal()
  const ports = { terminal, clock: systemClock, random: systemRandom, env: process.env }
  process.exitCode = await runCommand(argv, ports)
  terminal.close()
}

const argv = process.argv.slice(2)
await (isServeLine(argv) ? start(argv) : run(argv))
