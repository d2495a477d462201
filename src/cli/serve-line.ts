/**
 * The command line of `serve`, read: with what configuration, or what to say instead. `serve` is what is meant where
 * no command is named (`tidings --port 5`). Pure: the environment and the reading of the config file are handed in by
 * main.ts, which acts on the answer. Nothing that only other commands need is loaded here: a broker starts fast.
 */
import {
  type Config,
  ConfigError,
  checkExposure,
  flagOf,
  isSetting,
  isSwitch,
  nameOfFlag,
  resolveConfig,
  settingsHelp,
} from '../config.ts'

export type ServeLine =
  | { kind: 'serve'; config: Config }
  | { kind: 'help'; text: string }
  | { kind: 'version' }
  /** Exit code 2, and this one line. */
  | { kind: 'refused'; message: string }

const USAGE = `Usage: tidings serve [flags]

Runs a broker. Each flag is also TIDINGS_… in the environment, or a key of the config file.

${settingsHelp()}
  --config                     a JSON file with settings as keys in camelCase

Example
  tidings serve --port 7070 --data-dir /var/lib/tidings`

interface Words {
  /** By setting name; `config`, `help` and `version` too. */
  flags: Map<string, string>
}

/** Whether the words are for `serve`: they name it, or nothing but flags. */
export function isServeLine(argv: readonly string[]): boolean {
  const [first, second] = argv
  if (first === 'help') return second === 'serve'
  return first === 'serve' || (first?.startsWith('-') === true && first !== '--help' && first !== '-h')
}

/** `argv` without the program; `readFile` throws for a file that cannot be read. */
export function readServeLine(
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  readFile: (path: string) => string,
): ServeLine {
  try {
    if (argv[0] === 'help') return { kind: 'help', text: USAGE }
    const { flags } = parseWords(argv[0] === 'serve' ? argv.slice(1) : argv)
    if (flags.has('help')) return { kind: 'help', text: USAGE }
    if (flags.has('version')) return { kind: 'version' }
    const path = flags.get('config') ?? env['TIDINGS_CONFIG']
    const file = path === undefined ? undefined : parseFile(path, readFile)
    const config = resolveConfig({ flags, env, file })
    checkExposure(config)
    checkFiles(config, readFile)
    return { kind: 'serve', config }
  } catch (error) {
    if (error instanceof ConfigError)
      return { kind: 'refused', message: error.message.replaceAll(/\s*[\r\n]+\s*/g, ' ') }
    throw error
  }
}

function parseWords(argv: readonly string[]): Words {
  const words: Words = { flags: new Map() }
  for (let i = 0; i < argv.length; i++) {
    const word = argv[i]!
    if (!word.startsWith('-')) {
      // A command may come after its flags.
      if (word === 'serve' && argv.indexOf('serve') === i && words.flags.size > 0) continue
      throw new ConfigError(`unexpected argument ${JSON.stringify(word)}`)
    }
    const equals = word.indexOf('=')
    const flag = equals === -1 ? word : word.slice(0, equals)
    const name = nameOf(flag)
    let value = equals === -1 ? undefined : word.slice(equals + 1)
    if (value === undefined && takesNext(name, argv[i + 1])) value = argv[++i]
    if (value === undefined && !isBare(name)) throw new ConfigError(`${flag}: the value is missing`)
    words.flags.set(name, value ?? 'true')
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

/** A file that is named is looked at now, and not when it is needed for the first time. */
function checkFiles(config: Config, readFile: (path: string) => string): void {
  for (const name of ['etcdCa', 'etcdCert', 'etcdKey', 'peerCa', 'peerCert', 'peerKey'] as const) {
    const path = config[name]
    if (path === null) continue
    try {
      readFile(path)
    } catch {
      throw new ConfigError(`--${flagOf(name)} ${path}: the file cannot be read`)
    }
  }
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
