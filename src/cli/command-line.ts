/**
 * The words after `tidings`, against the descriptions of its commands: which one is called, with what; or what help is
 * asked for. Throws a UsageError whose one sentence names the word that cannot be used. Pure.
 */
import { parseArgs } from 'node:util'
import { TidingsError } from '@tidings/sdk/protocol'
import { parseBytes, parseDuration, parsePosition } from './amount.ts'
import { Call, type Given } from './call.ts'
import { type Command, UsageError } from './command.ts'
import type { Flag } from './flag.ts'

export type Reading =
  | { kind: 'call'; command: Command; call: Call }
  | { kind: 'help'; command: Command }
  | { kind: 'group'; group: string }

export interface Surroundings {
  env: Readonly<Record<string, string | undefined>>
  /** Wall time, for positions such as "ten minutes ago". */
  now: number
}

/** `argv` begins with the first word of a command. */
export function readCommandLine(
  commands: readonly Command[],
  argv: readonly string[],
  surroundings: Surroundings,
): Reading {
  const asked = argv[0] === 'help' ? argv.slice(1) : argv
  const command = commandOf(commands, asked)
  if (command === null) return { kind: 'group', group: asked[0]! }
  const words = asked.slice(command.path.split(' ').length)
  if (argv[0] === 'help') return { kind: 'help', command }
  const read = readWords(command, words)
  if (read === null) return { kind: 'help', command }
  const flags = new Map<string, Given>()
  for (const flag of command.flags) {
    const fromEnv = flag.variable === undefined ? undefined : surroundings.env[flag.variable]
    const given = read.flags.get(flag.name) ?? (fromEnv === undefined || fromEnv === '' ? undefined : [fromEnv])
    if (given === undefined) continue
    const where = read.flags.has(flag.name) ? `--${flag.name}` : flag.variable!
    flags.set(flag.name, flag.kind === 'list' ? given : valueOf(flag, where, given.at(-1)!, surroundings.now))
  }
  checkArguments(command, read.args)
  return { kind: 'call', command, call: new Call(command, read.args, flags) }
}

/** Null where the words name a group and no command of it (`topic`, `topic --help`). */
function commandOf(commands: readonly Command[], words: readonly string[]): Command | null {
  const [first, second] = words
  const found = commands.find(({ path }) => path === first || path === `${first} ${second}`)
  if (found) return found
  const inGroup = commands.filter(({ path }) => path.startsWith(`${first} `)).map(({ path }) => path.split(' ')[1]!)
  if (inGroup.length === 0) {
    const names = new Set(['serve', ...commands.map(({ path }) => path.split(' ')[0]!)])
    throw new UsageError(`unknown command ${JSON.stringify(first)}${meant(first ?? '', [...names])}`)
  }
  if (second === undefined || second === '--help' || second === '-h') return null
  throw new UsageError(`unknown command ${JSON.stringify(`${first} ${second}`)}${meant(second, inGroup)}`)
}

/** Null where help is asked for. */
function readWords(
  command: Command,
  words: readonly string[],
): { args: string[]; flags: Map<string, string[]> } | null {
  const options = Object.fromEntries(
    command.flags.map(({ name, kind, short }) => [
      name,
      {
        type: kind === 'switch' ? ('boolean' as const) : ('string' as const),
        ...(short === undefined ? {} : { short }),
      },
    ]),
  )
  const { tokens } = parseArgs({
    args: [...words],
    options: { ...options, help: { type: 'boolean', short: 'h' } },
    strict: false,
    allowPositionals: true,
    tokens: true,
  })
  const args: string[] = []
  const flags = new Map<string, string[]>()
  for (const token of tokens) {
    if (token.kind === 'positional') args.push(token.value)
    if (token.kind !== 'option') continue
    if (token.name === 'help') return null
    const flag = command.flags.find(({ name }) => name === token.name)
    if (!flag) {
      const hint = token.rawName.startsWith('--')
        ? meant(
            token.name,
            command.flags.map(({ name }) => name),
          )
        : '; a value that begins with a dash goes after --'
      throw new UsageError(`unknown flag ${token.rawName} of ${command.path}${hint}`)
    }
    const isSwallowed = token.inlineValue === false && token.value?.startsWith('--') === true
    if (flag.kind !== 'switch' && (token.value === undefined || isSwallowed))
      throw new UsageError(`${token.rawName}: the value is missing (${shapeOf(flag)})`)
    flags.set(flag.name, [...(flags.get(flag.name) ?? []), token.value ?? 'true'])
  }
  return { args, flags }
}

function checkArguments({ path, args }: Command, given: readonly string[]): void {
  const missing = args.find(({ isOptional }, at) => isOptional !== true && given[at] === undefined)
  if (missing) throw new UsageError(`${path}: <${missing.name}> is missing; see "tidings ${path} --help"`)
  const extra = given[args.length]
  if (extra !== undefined)
    throw new UsageError(`${path}: unexpected argument ${JSON.stringify(extra)}; see "tidings ${path} --help"`)
  for (const [at, { name, choices, check }] of args.entries()) {
    const value = given[at]
    if (value === undefined) continue
    if (check) checked(path, () => check(value))
    if (choices && !choices.includes(value))
      throw new UsageError(`${path}: <${name}> is one of ${choices.join(', ')}, not ${JSON.stringify(value)}`)
  }
}

function checked(path: string, check: () => unknown): void {
  try {
    check()
  } catch (error) {
    if (TidingsError.is(error)) throw new UsageError(`${path}: ${error.message}`)
    throw error
  }
}

function valueOf(flag: Flag, where: string, text: string, now: number): Given {
  if (flag.isNullable && text === 'none') return null
  const value = parsed(flag, text, now)
  const { min = 0, max = Number.MAX_SAFE_INTEGER } = flag
  if (value === null || (typeof value === 'number' && (value < min || value > max)))
    throw new UsageError(`${where}: ${JSON.stringify(text)} is not ${shapeOf(flag)}`)
  return value
}

function parsed(flag: Flag, text: string, now: number): Given | null {
  switch (flag.kind) {
    case 'switch':
      return text === 'true' ? true : text === 'false' ? false : null
    case 'integer':
      return /^\d{1,15}$/.test(text) ? Number(text) : null
    case 'duration':
      return parseDuration(text)
    case 'bytes':
      return parseBytes(text)
    case 'position':
      return parsePosition(text, now)
    case 'choice':
      return flag.choices!.includes(text) ? text : null
    case 'text':
    case 'list':
      return text
  }
}

/** What a value of this flag looks like. */
function shapeOf({ kind, choices, min = 0, max, isNullable }: Flag): string {
  const shape = {
    switch: 'true or false',
    text: 'a text',
    list: 'a text',
    integer: max === undefined ? `a whole number from ${min} on` : `a whole number from ${min} to ${max}`,
    duration: 'a time such as 500ms, 30s, 10m, 12h or 7d',
    bytes: 'a size such as 512, 64KiB or 1GiB',
    choice: `one of ${choices?.join(', ')}`,
    position: 'earliest, latest, a time (RFC 3339), so long ago (10m), or offsets such as 0:12,1:40',
  }[kind]
  return isNullable ? `${shape}, or none` : shape
}

/** The name that was meant, where one is near. */
function meant(word: string, names: readonly string[]): string {
  const near = names.map((name) => ({ name, far: distance(word, name) })).sort((a, b) => a.far - b.far)[0]
  return near && near.far <= Math.floor(word.length / 2) ? `; did you mean ${JSON.stringify(near.name)}?` : ''
}

/** Letters to insert, remove or change to come from one word to the other. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, at) => at)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const change = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(change, row[j]! + 1, next[j - 1]! + 1))
    }
    row = next
  }
  return row[b.length]!
}
