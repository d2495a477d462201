/**
 * What a subscription that answers does with a message: runs the user's handler, publishes what it gave back to the
 * inbox that the request names, and lets the request be acknowledged after that. So a crash on the way brings the
 * request again, and the answer's idempotency key is the same every time: one answer is stored. Called by asking.ts.
 */
import type { Message } from './message.ts'
import { type ErrorCode, TidingsError } from './protocol/errors.ts'
import { REPLY_HEADER, REPLY_TOPIC_PREFIX } from './protocol/http.ts'
import type { PublishOptions } from './publish-entry.ts'
import { errorAnswer } from './reply-error.ts'
import type { Handler } from './subscription.ts'

/** Nobody can be told: the inbox is gone, or not ours to write to. */
const NOBODY: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['topic_not_found', 'permission_denied'])

/** What an answer must be, before it is sent and when it has come. */
export interface AnswerChecks {
  sent(answer: unknown): Promise<unknown>
  received(answer: unknown): Promise<unknown>
}

/** A subscription that answers. */
export interface Replying<T> {
  /** Of the subscription. */
  name: string
  handler: Handler<T>
  checks: AnswerChecks | undefined
}

export async function reply<T>(
  message: Message<T>,
  { name, handler, checks }: Replying<T>,
  publish: (inbox: string, value: unknown, options: PublishOptions) => Promise<void>,
): Promise<void> {
  const asked = askedBy(message)
  if (!asked) {
    await handler(message)
    return
  }
  const send = async (answer: unknown, code?: string): Promise<void> => {
    const headers: Record<string, string> = { [REPLY_HEADER.correlation]: asked.correlation }
    if (code !== undefined) headers[REPLY_HEADER.error] = code
    await publish(asked.inbox, answer ?? null, { headers, idempotencyKey: `${asked.correlation}/${name}` })
  }
  let answer: unknown
  let failure: { error: unknown } | null = null
  try {
    answer = await handler(message)
    // It was put off, or given up on, by hand: another attempt may answer.
    if (message.isSettled && answer === undefined) return
    if (checks) answer = await checks.sent(answer)
  } catch (error) {
    if (message.isSettled) throw error
    failure = { error }
  }
  try {
    await (failure ? sendError(failure.error, send) : send(answer))
  } catch (error) {
    const { code, retryable } = TidingsError.from(error)
    if (NOBODY.has(code)) return
    // What cannot be stored for now is tried again, and the request with it.
    if (retryable || failure) throw error
    await sendError(error, send)
  }
}

function sendError(error: unknown, send: (answer: unknown, code: string) => Promise<void>): Promise<void> {
  const answer = errorAnswer(error)
  return send(answer, answer.code)
}

function askedBy({ headers }: Message<unknown>): { inbox: string; correlation: string } | null {
  const inbox = headers[REPLY_HEADER.to]
  const correlation = headers[REPLY_HEADER.correlation]
  // Who may publish a request may not thereby publish anywhere else.
  if (inbox === undefined || correlation === undefined || !inbox.startsWith(REPLY_TOPIC_PREFIX)) return null
  return correlation.length > 0 && correlation.length <= 32 ? { inbox, correlation } : null
}
