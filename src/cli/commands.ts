/** All commands of the CLI but `serve`, in the order of the help. */
import type { Command } from './command.ts'
import { DATA_COMMANDS } from './data-commands.ts'
import { MESSAGE_COMMANDS } from './message-commands.ts'
import { SUBSCRIPTION_COMMANDS } from './subscription-commands.ts'
import { TOPIC_COMMANDS } from './topic-commands.ts'

export const COMMANDS: readonly Command[] = [
  ...MESSAGE_COMMANDS,
  ...TOPIC_COMMANDS,
  ...SUBSCRIPTION_COMMANDS,
  ...DATA_COMMANDS,
]
