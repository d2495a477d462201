/** Where the broker is that a command talks with: its flags, the environment, or the usual place. */
import type { Place } from './broker-api.ts'
import type { Call } from './call.ts'
import { UsageError } from './command.ts'

const DEFAULT_URL = 'http://127.0.0.1:7070'

/** Throws a UsageError for what is no URL. */
export function placeOf(call: Call): Place {
  const urls = (call.text('url') ?? DEFAULT_URL).split(',').map((url) => checkedUrl(url.trim()))
  return { urls, token: call.text('token') }
}

function checkedUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : null
  if (url && (url.protocol === 'http:' || url.protocol === 'https:')) return text.replace(/\/+$/, '')
  throw new UsageError(`--url: ${JSON.stringify(text)} is not a URL such as ${DEFAULT_URL}`)
}
