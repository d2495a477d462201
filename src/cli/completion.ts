/**
 * Completion scripts for shells, from the descriptions of the commands: words and flags stand in the script itself, so that
 * a key press starts no process; only names of topics and subscriptions are asked from the broker. Pure.
 */
import type { Command } from './command.ts'
import type { Flag } from './flag.ts'

export type Shell = 'bash' | 'zsh' | 'fish'

export function completionScript(commands: readonly Command[], shell: Shell): string {
  if (shell === 'fish') return fishScript(commands)
  const bash = bashScript(commands)
  return shell === 'bash' ? bash : `#compdef tidings\nautoload -U +X bashcompinit && bashcompinit\n${bash}`
}

const SERVE = 'serve'

function firstWords(commands: readonly Command[]): string[] {
  return [...new Set([SERVE, ...commands.map(({ path }) => path.split(' ')[0]!), 'help'])]
}

/** Group → its commands. */
function groups(commands: readonly Command[]): Map<string, string[]> {
  const found = new Map<string, string[]>()
  for (const { path } of commands) {
    const [group, word] = path.split(' ') as [string, string?]
    if (word !== undefined) found.set(group, [...(found.get(group) ?? []), word])
  }
  return found
}

function bashScript(commands: readonly Command[]): string {
  const groupCases = [...groups(commands)].map(([group, words]) => `    ${group}) words="${words.join(' ')}";;`)
  const flagCases = commands.map(
    ({ path, flags }) => `    "${path}") flags="${[...flags, HELP].map(({ name }) => `--${name}`).join(' ')}";;`,
  )
  const choices = choiceFlags(commands).map(
    ([path, { name, choices: values }]) => `    "${path} --${name}") words="${values!.join(' ')}";;`,
  )
  const args = commands.flatMap(({ path, args: given }) =>
    given.map(({ name, choices: values }, at) => {
      const source = values ? `words="${values.join(' ')}"` : (BASH_SOURCES[name] ?? '')
      return source === '' ? '' : `    "${path} ${at}") ${source};;`
    }),
  )
  return `# Completion of tidings in bash: source <(tidings completion bash)
_tidings() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]} path=\${COMP_WORDS[1]}
  local words='' flags='' depth=1 count=0 at topic=''
  case $path in
    ${[...groups(commands).keys()].join('|')}) depth=2; path="$path \${COMP_WORDS[2]}";;
  esac
  if (( COMP_CWORD == 1 )); then
    COMPREPLY=($(compgen -W "${firstWords(commands).join(' ')} --help --version" -- "$current"))
    return
  fi
  if (( COMP_CWORD == 2 && depth == 2 )); then
    case \${COMP_WORDS[1]} in
${groupCases.join('\n')}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
    return
  fi
  case $path in
${flagCases.join('\n')}
  esac
  if [[ $current == -* ]]; then
    COMPREPLY=($(compgen -W "$flags" -- "$current"))
    return
  fi
  case "$path $previous" in
${choices.join('\n')}
    *" --schema"|*" --config"|*" --ndjson"|*" --lines"|*" --file") COMPREPLY=($(compgen -f -- "$current")); return;;
  esac
  if [[ -z $words && $previous != --* ]]; then
    for (( at = depth + 1; at < COMP_CWORD; at++ )); do
      [[ \${COMP_WORDS[at]} == -* ]] && break
      (( count == 0 )) && topic=\${COMP_WORDS[at]}
      (( count++ ))
    done
    case "$path $count" in
${args.filter((line) => line !== '').join('\n')}
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _tidings tidings
`
}

const BASH_SOURCES: Readonly<Record<string, string>> = {
  topic: 'words=$(tidings topic list --names 2>/dev/null)',
  name: 'words=$(tidings subscription list "$topic" --names 2>/dev/null)',
  file: 'COMPREPLY=($(compgen -f -- "$current")); return',
}

const HELP: Pick<Flag, 'name'> = { name: 'help' }

function choiceFlags(commands: readonly Command[]): [string, Flag][] {
  return commands.flatMap(({ path, flags }) =>
    flags.filter(({ choices }) => choices !== undefined).map((flag): [string, Flag] => [path, flag]),
  )
}

function fishScript(commands: readonly Command[]): string {
  const lines = ['# Completion of tidings in fish: tidings completion fish | source', 'complete -c tidings -f']
  const top = new Map(commands.map(({ path, summary }) => [path.split(' ')[0]!, path.includes(' ') ? '' : summary]))
  for (const [word, summary] of [[SERVE, 'run a broker'] as const, ...top])
    lines.push(`complete -c tidings -n __fish_use_subcommand -a ${word} -d ${quoted(summary)}`)
  for (const { path, summary, flags, args } of commands) {
    const [group, word] = path.split(' ') as [string, string?]
    if (word !== undefined) {
      const others = groups(commands).get(group)!.join(' ')
      const isNext = `__fish_seen_subcommand_from ${group}; and not __fish_seen_subcommand_from ${others}`
      lines.push(`complete -c tidings -n '${isNext}' -a ${word} -d ${quoted(summary)}`)
    }
    const isHere = [group, word]
      .filter((part) => part !== undefined)
      .map((part) => `__fish_seen_subcommand_from ${part}`)
    const condition = `'${isHere.join('; and ')}'`
    for (const { name, kind, short, choices, help } of flags) {
      const value = kind === 'switch' ? '' : choices ? ` -x -a '${choices.join(' ')}'` : ' -r'
      const dash = short === undefined ? '' : ` -s ${short}`
      lines.push(`complete -c tidings -n ${condition} -l ${name}${dash}${value} -d ${quoted(help)}`)
    }
    const first = args[0]
    if (first?.name === 'topic')
      lines.push(`complete -c tidings -n ${condition} -a '(tidings topic list --names 2>/dev/null)'`)
    if (first?.choices) lines.push(`complete -c tidings -n ${condition} -a '${first.choices.join(' ')}'`)
  }
  return `${lines.join('\n')}\n`
}

function quoted(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
}
