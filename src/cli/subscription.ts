/** Subscriptions: create, update, list, show, delete. */
import { type SubscriptionSettings, TidingsError } from '@tidings/sdk/protocol'
import { countText, durationText } from './amount.ts'
import { subscriptionPath, topicPath } from './broker-api.ts'
import type { Call } from './call.ts'
import { type Context, EXIT, UsageError } from './command.ts'
import { confirmed } from './confirmation.ts'
import { renderFacts, renderTable } from './table.ts'

/** As the broker answers. */
export interface SubscriptionJson extends SubscriptionSettings {
  topic: string
  name: string
  state: {
    backlog: number
    unacked: number
    redelivering: number
    deadLettering: number
    parked: number
    consumers: { name: string; unacked: number; prefetch: number; weight: number; paused: boolean; active: boolean }[]
    oldestUnackedAgeMs: number | null
    cursors: { topic?: string; partition: number; ackedThrough: number; ackedAhead: number }[]
  }
}

export async function create({ call, api, terminal }: Context): Promise<number> {
  const [topic, name] = [call.arg('topic'), call.arg('name')]
  const path = subscriptionPath(topic, name)
  const present = await api().find<SubscriptionJson>(path, 'topic_not_found', 'subscription_not_found')
  if (present && !call.isOn('if-missing')) {
    throw new TidingsError(
      'conflict',
      `the subscription ${name} of ${topic} is there already; change it with "tidings subscription update ${topic} ${name}", or give --if-missing`,
    )
  }
  const made = present ?? (await api().put<SubscriptionJson>(path, settingsOf(call)))
  const said = present ? 'was there already' : 'created'
  await terminal.print(call.isOn('json') ? line(made) : `${name} of ${topic} ${said}: ${made.type}\n`)
  return EXIT.done
}

export async function update({ call, api, terminal }: Context): Promise<number> {
  const [topic, name] = [call.arg('topic'), call.arg('name')]
  const body = settingsOf(call)
  if (Object.keys(body).length === 0)
    throw new UsageError('subscription update: nothing is to be changed; see "tidings subscription update --help"')
  // PUT would make one that is missing, which nobody asked for.
  await api().get(subscriptionPath(topic, name))
  const changed = await api().put<SubscriptionJson>(subscriptionPath(topic, name), body)
  await terminal.print(call.isOn('json') ? line(changed) : `${name} of ${topic} updated\n`)
  return EXIT.done
}

export async function list({ call, api, terminal }: Context): Promise<number> {
  const topic = call.arg('topic')
  const answer = await api().get<{ subscriptions: SubscriptionJson[] }>(`${topicPath(topic)}/subscriptions`)
  const { subscriptions } = answer
  if (call.isOn('json')) await terminal.print(line(answer))
  else if (call.isOn('names')) await terminal.print(subscriptions.map(({ name }) => `${name}\n`).join(''))
  else if (subscriptions.length === 0) terminal.note(`${topic} has no subscription\n`)
  else {
    const titles = ['BACKLOG', 'UNACKED', 'REDELIVERING', 'PARKED', 'CONSUMERS', 'OLDEST']
    const columns = [
      { title: 'SUBSCRIPTION' },
      { title: 'TYPE' },
      ...titles.map((title) => ({ title, align: 'right' as const })),
    ]
    const rows = subscriptions.map(({ name, type, state }) => [
      name,
      type,
      ...[state.backlog, state.unacked, state.redelivering, state.parked, state.consumers.length].map(countText),
      ageText(state.oldestUnackedAgeMs),
    ])
    await terminal.print(renderTable(columns, rows, terminal.width))
  }
  return EXIT.done
}

export async function show({ call, api, terminal }: Context): Promise<number> {
  const path = subscriptionPath(call.arg('topic'), call.arg('name'))
  const subscription = await api().get<SubscriptionJson>(path)
  if (call.isOn('json')) {
    await terminal.print(line(subscription))
    return EXIT.done
  }
  const { consumers, cursors } = subscription.state
  const cursorRows = cursors.map(({ topic, partition, ackedThrough, ackedAhead }) => [
    topic ?? subscription.topic,
    String(partition),
    countText(ackedThrough),
    countText(ackedAhead),
  ])
  const right = (title: string): { title: string; align: 'right' } => ({ title, align: 'right' })
  const cursorColumns = [{ title: 'TOPIC' }, right('PARTITION'), right('ACKED THROUGH'), right('AHEAD')]
  const tables = [renderFacts(factsOf(subscription)), renderTable(cursorColumns, cursorRows, terminal.width)]
  if (consumers.length > 0) {
    const rows = consumers.map(({ name, unacked, prefetch, weight, paused, active }) => [
      name,
      countText(unacked),
      countText(prefetch),
      String(weight),
      paused ? 'paused' : active ? 'active' : 'stands by',
    ])
    const columns = [{ title: 'CONSUMER' }, right('UNACKED'), right('PREFETCH'), right('WEIGHT'), { title: 'IS' }]
    tables.push(renderTable(columns, rows, terminal.width))
  }
  await terminal.print(tables.join('\n'))
  return EXIT.done
}

export async function remove(context: Context): Promise<number> {
  const { call, api, terminal } = context
  const [topic, name] = [call.arg('topic'), call.arg('name')]
  const { state } = await api().get<SubscriptionJson>(subscriptionPath(topic, name))
  const deed = `delete the subscription ${name} of ${topic}, which has ${countText(state.backlog)} messages to acknowledge`
  if (!(await confirmed(context, deed))) return EXIT.failed
  await api().delete(subscriptionPath(topic, name))
  await terminal.print(call.isOn('json') ? line({ topic, name, deleted: true }) : `${name} of ${topic} deleted\n`)
  return EXIT.done
}

/** The flags as settings; those about dead letters have words of their own. */
function settingsOf(call: Call): Record<string, unknown> {
  const body = call.settings()
  const topic = call.text('dead-letter')
  const extra = call.given('park') === undefined ? {} : { mode: call.isOn('park') ? 'park' : 'topic' }
  const deadLetter = { ...(body['deadLetter'] as object | undefined), ...extra }
  if (topic === 'none') {
    if (Object.keys(deadLetter).length > 0)
      throw new UsageError(
        '--dead-letter none: there are no dead letters then, so --max-deliveries, --park and --max-parked mean nothing',
      )
    return { ...body, deadLetter: null }
  }
  const named = topic === undefined ? {} : { topic: topic === 'default' ? null : topic }
  const isGiven = topic !== undefined || Object.keys(deadLetter).length > 0
  return isGiven ? { ...body, deadLetter: { ...named, ...deadLetter } } : body
}

function factsOf({ topic, name, state, ...settings }: SubscriptionJson): [string, string][] {
  const { deadLetter, backoff, filter, expireAfterMs } = settings
  const failed =
    deadLetter === null
      ? 'tried for ever'
      : `after ${deadLetter.maxDeliveries} attempts ${deadLetter.mode === 'park' ? 'their key is parked' : `to ${deadLetter.topic ?? `${topic}.${name}.dlq`}`}`
  return [
    ['subscription', `${name} of ${topic}`],
    ['type', settings.type],
    ['filter', filter ?? 'none'],
    ['ack deadline', durationText(settings.ackDeadlineMs)],
    ['backoff', `${durationText(backoff.minMs)} to ${durationText(backoff.maxMs)}`],
    ['failed messages', failed],
    ['expires', expireAfterMs === null ? 'never' : `after ${durationText(expireAfterMs)} without a consumer`],
    ['backlog', countText(state.backlog)],
    ['unacked', countText(state.unacked)],
    ['redelivering', countText(state.redelivering)],
    ['parked keys', countText(state.parked)],
    ['oldest unacked', ageText(state.oldestUnackedAgeMs)],
  ]
}

export function ageText(ms: number | null): string {
  return ms === null ? '-' : durationText(ms)
}

function line(value: unknown): string {
  return `${JSON.stringify(value)}\n`
}
