/** Help, from the descriptions of the commands: of all, of a group, of one. Pure. */
import type { Command } from './command.ts'
import type { Flag } from './flag.ts'

export function overview(commands: readonly Command[]): string {
  return `Usage: tidings <command> [flags]

${columns([['serve', 'run a broker'], ...commands.map(rowOf)])}

  tidings <command> --help   what it takes, with an example
  tidings --version

A broker is looked for at --url, at TIDINGS_URL, at http://127.0.0.1:7070; its token is --token or TIDINGS_TOKEN.
Exit codes: 0 done, 1 it could not be done or something wrong was found, 2 the command line cannot be used.
`
}

export function groupHelp(commands: readonly Command[], group: string): string {
  const rows = commands.filter(({ path }) => path.startsWith(`${group} `)).map(rowOf)
  return `Usage: tidings ${group} <command> [flags]\n\n${columns(rows)}\n`
}

export function commandHelp(command: Command): string {
  const parts = [`Usage: tidings ${usageOf(command)} [flags]\n\n${sentence(command.summary)}\n`]
  if (command.notes !== undefined) parts.push(`${command.notes}\n`)
  parts.push(`${columns(command.flags.map(flagRow))}\n`)
  parts.push(`Example\n${command.examples.map((example) => `  ${example}\n`).join('')}`)
  return parts.join('\n')
}

/** Left column as wide as it needs, but no wider than is good to read. */
function columns(rows: readonly (readonly [string, string])[]): string {
  const width = Math.min(44, Math.max(...rows.map(([left]) => left.length)))
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`).join('\n')
}

function rowOf(command: Command): [string, string] {
  return [usageOf(command), command.summary]
}

function usageOf({ path, args }: Command): string {
  return [path, ...args.map(({ name, isOptional }) => (isOptional ? `[${name}]` : `<${name}>`))].join(' ')
}

function flagRow({ name, short, shown, help, variable }: Flag): [string, string] {
  const spelled = `${short === undefined ? '' : `-${short}, `}--${name}${shown === '' ? '' : ` ${shown}`}`
  return [spelled, `${help}${variable === undefined ? '' : ` [${variable}]`}`]
}

function sentence(text: string): string {
  return `${text[0]!.toUpperCase()}${text.slice(1)}.`
}
