/** Subscriptions that need a hand: seek, redrive, explain, parked keys. */
import { DEFAULT_REDRIVE_COUNT } from '@tidings/sdk/protocol'
import { countText } from './amount.ts'
import { subscriptionPath } from './broker-api.ts'
import { type Context, EXIT, UsageError } from './command.ts'
import type { SubscriptionJson } from './subscription.ts'
import { renderFacts, renderTable } from './table.ts'

export async function seek({ call, api, terminal }: Context): Promise<number> {
  const to = call.given('to')
  if (to === undefined) throw new UsageError('subscription seek: --to is missing, such as --to earliest')
  const path = subscriptionPath(call.arg('topic'), call.arg('name'))
  const moved = await api().post<SubscriptionJson>(`${path}/seek`, { to })
  const said = `${moved.name} of ${moved.topic} moved: ${countText(moved.state.backlog)} messages to deliver\n`
  await terminal.print(call.isOn('json') ? line(moved) : said)
  return EXIT.done
}

/** One request moves so many at most: without --max it is repeated until nothing is left. */
export async function redrive({ call, api, terminal }: Context): Promise<number> {
  const path = `${subscriptionPath(call.arg('topic'), call.arg('name'))}/redrive`
  const filter = call.text('filter')
  const isDry = call.isOn('dry-run')
  const most = call.number('max')
  const request = { ...(filter === undefined ? {} : { filter }), ...(isDry ? { dryRun: true } : {}) }
  let moved = 0
  let matched: number | undefined
  const ended = terminal.ended()
  while (!ended.aborted) {
    const max = most === undefined ? (isDry ? undefined : DEFAULT_REDRIVE_COUNT) : most - moved
    const answer = await api().post<{ moved: number; matched?: number }>(path, {
      ...request,
      ...(max === undefined ? {} : { max }),
    })
    moved += answer.moved
    matched = answer.matched
    terminal.status(`${countText(moved)} moved`)
    if (isDry || answer.moved === 0 || moved === most) break
  }
  const said = isDry
    ? `${countText(matched ?? 0)} dead letters would be moved\n`
    : `${countText(moved)} dead letters moved\n`
  await terminal.print(call.isOn('json') ? line({ moved, ...(isDry ? { matched: matched ?? 0 } : {}) }) : said)
  return ended.aborted ? EXIT.failed : EXIT.done
}

interface Explanation {
  verdict: string
  reasons: { code: string; detail: string; partition?: number; topic?: string; id?: string; until?: string }[]
  backlog: number
  unacked: number
  redelivering: number
  parked: number
}

interface MessageExplanation {
  id: string
  state: string
  reason: string
  [more: string]: unknown
}

export async function explain({ call, api, terminal }: Context): Promise<number> {
  const path = subscriptionPath(call.arg('topic'), call.arg('name'))
  const id = call.optionalArg('id')
  if (id !== undefined) {
    const answer = await api().get<MessageExplanation>(`${path}/messages/${encodeURIComponent(id)}/explain`)
    const facts = Object.entries(answer).map(([name, value]): [string, string] => [
      name,
      typeof value === 'string' ? value : JSON.stringify(value),
    ])
    await terminal.print(call.isOn('json') ? line(answer) : renderFacts(facts))
    return EXIT.done
  }
  const answer = await api().get<Explanation>(`${path}/explain`)
  if (call.isOn('json')) {
    await terminal.print(line(answer))
    return EXIT.done
  }
  const rows = answer.reasons.map(({ code, detail, topic, partition, id: message, until }) => [
    code,
    message ?? (partition === undefined ? '' : `${topic === undefined ? '' : `${topic}/`}${partition}`),
    `${detail}${until === undefined ? '' : ` (until ${until})`}`,
  ])
  const columns = [{ title: 'REASON' }, { title: 'WHERE' }, { title: 'WHAT' }]
  const counts = ['backlog', 'unacked', 'redelivering', 'parked'] as const
  const sums = counts.map((name) => `${name} ${countText(answer[name] ?? 0)}`).join(', ')
  // A sentence that is cut off explains nothing: no width here.
  await terminal.print(
    `${renderFacts([['verdict', answer.verdict]])}${renderFacts([['counts', sums]])}\n${renderTable(columns, rows)}`,
  )
  return EXIT.done
}

interface ParkedKeyJson {
  key: string
  topic?: string
  partition: number
  id: string
  attempts: number
  parkedAt: string
  waiting: number
  reason?: string
}

export async function parked(context: Context): Promise<number> {
  const { call, api, terminal } = context
  const path = `${subscriptionPath(call.arg('topic'), call.arg('name'))}/parked`
  const key = call.optionalArg('key')
  const action = call.text('action')
  if (key !== undefined) return act(context, path, key)
  if (action !== undefined)
    throw new UsageError(`subscription parked: --action ${action} needs the <key> that it is about`)
  const limit = call.number('limit')
  const answer = await api().get<{ parked: ParkedKeyJson[]; count: number; fellBack: number }>(
    limit === undefined ? path : `${path}?limit=${limit}`,
  )
  if (call.isOn('json')) await terminal.print(line(answer))
  else if (answer.parked.length === 0) terminal.note('no key is parked\n')
  else {
    const rows = answer.parked.map(({ key: name, id, attempts, waiting, parkedAt, reason }) => [
      name,
      id,
      String(attempts),
      countText(waiting),
      parkedAt,
      reason ?? '',
    ])
    const right = (title: string): { title: string; align: 'right' } => ({ title, align: 'right' })
    const columns = [
      { title: 'KEY' },
      { title: 'MESSAGE' },
      right('ATTEMPTS'),
      right('WAITING'),
      { title: 'SINCE' },
      { title: 'REASON' },
    ]
    await terminal.print(renderTable(columns, rows, terminal.width))
    if (answer.count > answer.parked.length)
      terminal.note(`${answer.parked.length} of ${countText(answer.count)} keys; more with --limit\n`)
  }
  return EXIT.done
}

async function act({ call, api, terminal }: Context, path: string, key: string): Promise<number> {
  const action = call.text('action')
  if (action === undefined)
    throw new UsageError('subscription parked: say what is to happen with the key, such as --action resume')
  const value = call.text('value')
  if ((action === 'replace') !== (value !== undefined))
    throw new UsageError('subscription parked: --action replace and --value go together')
  const place = {
    ...(call.number('partition') === undefined ? {} : { partition: call.number('partition') }),
    ...(call.text('in') === undefined ? {} : { topic: call.text('in') }),
  }
  // In the body, where every key can stand: a path cannot hold "..".
  const body = { key, action, ...place, ...(value === undefined ? {} : { value: parseJson(value) }) }
  const answer = await api().post<{ key: string; action: string; id: string; waiting: number }>(path, body)
  const said = `${answer.key}: ${answer.action} of ${answer.id}; ${countText(answer.waiting)} messages follow\n`
  await terminal.print(call.isOn('json') ? line(answer) : said)
  return EXIT.done
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new UsageError(`--value: ${JSON.stringify(text)} is not JSON`)
  }
}

function line(value: unknown): string {
  return `${JSON.stringify(value)}\n`
}
