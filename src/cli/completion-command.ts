/** Prints a shell's completion script. */

import { type Context, EXIT } from './command.ts'
import { completionScript, type Shell } from './completion.ts'

export async function completion({ call, commands, terminal }: Context): Promise<number> {
  const shell = call.arg('shell') as Shell
  const script = completionScript(commands, shell)
  await terminal.print(call.isOn('json') ? `${JSON.stringify({ shell, script })}\n` : script)
  return EXIT.done
}
