/**
 * The command line, read: which command, with what configuration, or what to say instead. Pure: the
 * environment and the reading of the config file are handed in by main.ts, which acts on the answer.
 */
import {
  type Config,
  ConfigError,
  checkExposure,
  isSetting,
  isSwitch,
  nameOfFlag,
  resolveConfig,
  settingsHelp,
} from './config.ts'

export type Command =
  | { kind: 'serve'; config: Config }
  | { kind: 'verify'; dataDir: string }
  | { kind: 'help'; text: string }
  | { kind: 'version' }
  /** Exit code 2, and this one line. */
  | { kind: 'refused'; message: string }

const USAGE = `Usage: tidings <command> [flags]

Commands
  serve                        run a broker
  verify --data-dir D          check every byte of a stopped broker's data

Flags of serve (each also as TIDINGS_… in the environment, or a key of the config file)
${settingsHelp()}
  --config                     a JSON file with settings as keys in camelCase

  --help, --version`

interface Words {
  command: string | undefined
  /** By setting name; `config`, `help` and `version` too. */
  flags: Map<string, string>
}

/** `argv` without the program; `readFile` throws for a file that cannot be read. */
export function parseCommandLine(
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  readFile: (path: string) => string,
): Command {
  try {
    if (argv.length === 0) return { kind: 'help', text: USAGE }
    const { command, flags } = parseWords(argv)
    if (flags.has('help') || command === 'help') return { kind: 'help', text: USAGE }
    if (flags.has('version')) return { kind: 'version' }
    const path = flags.get('config') ?? env['TIDINGS_CONFIG']
    const file = path === undefined ? undefined : parseFile(path, readFile)
    const config = resolveConfig({ flags, env, file })
    if (command === 'verify') return { kind: 'verify', dataDir: config.dataDir }
    checkExposure(config)
    return { kind: 'serve', config }
  } catch (error) {
    if (error instanceof ConfigError)
      return { kind: 'refused', message: error.message.replaceAll(/\s*[\r\n]+\s*/g, ' ') }
    throw error
  }
}

function parseWords(argv: readonly string[]): Words {
  const words: Words = { command: undefined, flags: new Map() }
  for (let i = 0; i < argv.length; i++) {
    const word = argv[i]!
    if (!word.startsWith('-')) {
      if (words.command !== undefined) throw new ConfigError(`unexpected argument ${JSON.stringify(word)}`)
      if (!['serve', 'verify', 'help'].includes(word)) throw new ConfigError(`unknown command ${JSON.stringify(word)}`)
      words.command = word
      continue
    }
    const equals = word.indexOf('=')
    const flag = equals === -1 ? word : word.slice(0, equals)
    const name = nameOf(flag)
    let value = equals === -1 ? undefined : word.slice(equals + 1)
    if (value === undefined && takesNext(name, argv[i + 1])) value = argv[++i]
    if (value === undefined && !isBare(name)) throw new ConfigError(`${flag}: the value is missing`)
    words.flags.set(name, value ?? 'true')
  }
  if (words.command === 'verify') {
    const other = [...words.flags.keys()].find((name) => !['dataDir', 'config', 'help', 'version'].includes(name))
    if (other !== undefined) throw new ConfigError(`verify takes --data-dir only, not ${JSON.stringify(other)}`)
  }
  return words
}

function nameOf(flag: string): string {
  if (flag === '-h') return 'help'
  if (flag === '-v') return 'version'
  const name = flag.startsWith('--') ? nameOfFlag(flag.slice(2)) : null
  if (name !== null && (isSetting(name) || ['config', 'help', 'version'].includes(name))) return name
  throw new ConfigError(`unknown flag ${flag}`)
}

/** Flags that need no value. */
function isBare(name: string): boolean {
  return name === 'help' || name === 'version' || (isSetting(name) && isSwitch(name))
}

function takesNext(name: string, next: string | undefined): boolean {
  if (next === undefined) return false
  if (isBare(name)) return isSetting(name) && (next === 'true' || next === 'false')
  return !next.startsWith('--')
}

function parseFile(path: string, readFile: (path: string) => string): unknown {
  let content: string
  try {
    content = readFile(path)
  } catch {
    throw new ConfigError(`--config ${path}: the file cannot be read`)
  }
  try {
    return JSON.parse(content)
  } catch {
    throw new ConfigError(`--config ${path}: the file is not JSON`)
  }
}
