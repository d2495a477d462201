/** Asks before something is lost that does not come back. */
import { type Context, UsageError } from './command.ts'

/** Whether to do it. Where nobody can be asked, `--yes` has to be there. */
export async function confirmed({ call, terminal }: Context, deed: string): Promise<boolean> {
  if (call.isOn('yes')) return true
  const answer = await terminal.ask(`${deed}? [y/N] `)
  if (answer === null) throw new UsageError(`${call.command.path}: give --yes to ${deed}`)
  return /^y(es)?$/i.test(answer.trim())
}
