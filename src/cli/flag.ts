/** What a flag or an argument of a command is: from this come parsing, help and completion. */
import { checkName, checkTopicOrPattern } from '@tidings/sdk/protocol'

export interface Flag {
  /** In kebab case, without the dashes. */
  name: string
  short?: string
  kind: 'switch' | 'text' | 'list' | 'integer' | 'duration' | 'bytes' | 'choice' | 'position'
  /** What stands for the value in the help. */
  shown: string
  choices?: readonly string[]
  min?: number
  max?: number
  /** `none` is a value, too: JSON's null. */
  isNullable?: boolean
  /** The setting that it becomes in the body of a request, such as `retention.maxAgeMs`. */
  setting?: string
  /** Taken where the flag is not given. */
  variable?: string
  help: string
}

export interface Argument {
  name: string
  isOptional?: boolean
  choices?: readonly string[]
  /** Throws a TidingsError that says what is wrong with it. */
  check?: (value: string) => unknown
}

export const TOPIC: Argument = { name: 'topic', check: (name) => checkName('topic', name) }
export const TOPIC_OR_PATTERN: Argument = { name: 'topic', check: checkTopicOrPattern }
export const SUBSCRIPTION: Argument = { name: 'name', check: (name) => checkName('subscription', name) }

/** Of a command: what its words may be. */
export interface Words {
  /** The words that call it, such as `topic create`. */
  path: string
  args: readonly Argument[]
  flags: readonly Flag[]
}

const flag = (kind: Flag['kind'], name: string, shown: string, help: string, more: Partial<Flag> = {}): Flag => ({
  kind,
  name,
  shown,
  help,
  ...more,
})

export const toggle = (name: string, help: string, more?: Partial<Flag>): Flag => flag('switch', name, '', help, more)
export const text = (name: string, shown: string, help: string, more?: Partial<Flag>): Flag =>
  flag('text', name, shown, help, more)
export const list = (name: string, shown: string, help: string, more?: Partial<Flag>): Flag =>
  flag('list', name, shown, `${help} (may be given several times)`, more)
export const integer = (name: string, help: string, more?: Partial<Flag>): Flag =>
  flag('integer', name, 'N', help, more)
export const duration = (name: string, help: string, more?: Partial<Flag>): Flag =>
  flag('duration', name, 'TIME', help, more)
export const bytes = (name: string, help: string, more?: Partial<Flag>): Flag =>
  flag('bytes', name, 'BYTES', help, more)
export const position = (name: string, help: string, more?: Partial<Flag>): Flag =>
  flag('position', name, 'POSITION', help, more)
export const choice = (name: string, choices: readonly string[], help: string, more?: Partial<Flag>): Flag =>
  flag('choice', name, choices.join('|'), help, { choices, ...more })

export const JSON_FLAG = toggle('json', 'print JSON, in shapes that stay')
/** Of every command that talks with a broker. */
export const BROKER_FLAGS: readonly Flag[] = [
  text('url', 'URL', 'the broker, or several with commas between them (http://127.0.0.1:7070)', {
    variable: 'TIDINGS_URL',
  }),
  text('token', 'TOKEN', 'an API key or a JWT', { variable: 'TIDINGS_TOKEN' }),
  JSON_FLAG,
]
