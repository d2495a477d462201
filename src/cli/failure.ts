/** What a person is told when a command fails: the broker's own sentence, and what to try. Pure. */
import { type ErrorCode, TidingsError } from '@tidings/sdk/protocol'
import { EXIT, UsageError } from './command.ts'

export interface Failure {
  exitCode: number
  code: string
  detail: string
  hint: string | undefined
}

const HINTS: Partial<Record<ErrorCode, string>> = {
  unavailable: 'start one with "tidings serve", or say where it is with --url or TIDINGS_URL',
  topic_not_found: 'see what is there with "tidings topic list"',
  subscription_not_found: 'see what is there with "tidings subscription list <topic>"',
  partition_not_found: 'see its partitions with "tidings topic show <topic>"',
  offset_out_of_range: 'see which offsets are there with "tidings topic show <topic>"',
  unauthenticated: 'give an API key or a JWT with --token or TIDINGS_TOKEN',
  permission_denied: 'ask for a grant on this topic, or use another --token',
  subscription_busy: 'see who has it with "tidings subscription show <topic> <name>"',
  outcome_unknown: 'repeat it with the same idempotency key: then it is stored once',
  overloaded: 'try again later, or with fewer messages at a time',
  storage_full: 'make room on the disk of the broker, or let it keep less (tidings topic update --max-bytes)',
  no_leader: 'try again in a moment',
}

export function failureOf(error: unknown): Failure {
  if (error instanceof UsageError)
    return { exitCode: EXIT.misused, code: 'usage', detail: error.message, hint: undefined }
  if (TidingsError.is(error))
    return { exitCode: EXIT.failed, code: error.code, detail: error.message, hint: HINTS[error.code] }
  const detail = error instanceof Error ? error.message : String(error)
  return { exitCode: EXIT.failed, code: 'failed', detail, hint: undefined }
}

/** For standard error. */
export function failureText(failure: Failure, isJson: boolean): string {
  const { code, hint } = failure
  const detail = failure.detail.replaceAll(/\s*[\r\n]+\s*/g, ' ')
  if (isJson) return `${JSON.stringify({ error: { code, detail, ...(hint === undefined ? {} : { hint }) } })}\n`
  return `tidings: ${detail}\n${hint === undefined ? '' : `  try: ${hint}\n`}`
}
