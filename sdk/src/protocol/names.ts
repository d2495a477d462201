/** The grammar of names of topics and subscriptions. */
import { TidingsError } from './errors.ts'

const NAME = /^[A-Za-z0-9][A-Za-z0-9._~-]{0,199}$/

/** The name of a topic or subscription, or `invalid_argument` that says why not. */
export function checkName(kind: 'topic' | 'subscription', name: string): string {
  if (NAME.test(name)) return name
  const shown = JSON.stringify(name.length > 60 ? `${name.slice(0, 60)}…` : name)
  if (name.startsWith('_')) {
    throw new TidingsError('invalid_argument', `${kind} name ${shown}: names that start with "_" are the broker's own`)
  }
  throw new TidingsError(
    'invalid_argument',
    `${kind} name ${shown}: use 1 to 200 of A-Z a-z 0-9 . _ ~ - and start with a letter or digit`,
  )
}
