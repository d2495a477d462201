/** Topics: create, update, list, show, delete. */
import { readFile } from 'node:fs/promises'
import { TidingsError, type TopicSettings } from '@tidings/sdk/protocol'
import { bytesText, countText, durationText } from './amount.ts'
import { topicPath } from './broker-api.ts'
import type { Call } from './call.ts'
import { type Context, EXIT, UsageError } from './command.ts'
import { confirmed } from './confirmation.ts'
import { renderFacts, renderTable } from './table.ts'

export interface PartitionState {
  partition: number
  earliestOffset: number
  nextOffset: number
  bytes: number
  segments: number
  leader: string
  whyRetained?: unknown
}

/** As the broker answers. */
export type TopicJson = TopicSettings & { name: string; partitionStates: PartitionState[] }

export async function create({ call, api, terminal }: Context): Promise<number> {
  const topic = call.arg('topic')
  const body = await settingsOf(call)
  const path = topicPath(topic)
  const present = await api().find<TopicJson>(path, 'topic_not_found')
  if (present && !call.isOn('if-missing')) {
    throw new TidingsError(
      'conflict',
      `the topic ${topic} is there already; change it with "tidings topic update ${topic}", or give --if-missing`,
    )
  }
  const made = present ?? (await api().put<TopicJson>(path, body))
  const said = present ? 'was there already' : 'created'
  await terminal.print(call.isOn('json') ? line(made) : `${topic} ${said}: ${partitionsText(made)}\n`)
  return EXIT.done
}

export async function update({ call, api, terminal }: Context): Promise<number> {
  const topic = call.arg('topic')
  const body = await settingsOf(call)
  if (Object.keys(body).length === 0)
    throw new UsageError('topic update: nothing is to be changed; see "tidings topic update --help"')
  // PUT would make a topic that is missing, which nobody asked for.
  await api().get(topicPath(topic))
  const changed = await api().put<TopicJson>(topicPath(topic), body)
  await terminal.print(call.isOn('json') ? line(changed) : `${topic} updated\n`)
  return EXIT.done
}

export async function list({ call, api, terminal }: Context): Promise<number> {
  const answer = await api().get<{ topics: (TopicSettings & { name: string })[] }>('/v1/topics')
  if (call.isOn('json')) await terminal.print(line(answer))
  else if (call.isOn('names')) await terminal.print(answer.topics.map(({ name }) => `${name}\n`).join(''))
  else if (answer.topics.length === 0) terminal.note('there is no topic yet; the first publish makes one\n')
  else {
    const columns = [{ title: 'TOPIC' }, { title: 'PARTITIONS', align: 'right' as const }, { title: 'KEEPS' }]
    const rows = answer.topics.map((topic) => [topic.name, String(topic.partitions), keepsText(topic)])
    await terminal.print(renderTable(columns, rows, terminal.width))
  }
  return EXIT.done
}

export async function show({ call, api, terminal }: Context): Promise<number> {
  const topic = await api().get<TopicJson>(topicPath(call.arg('topic')))
  if (call.isOn('json')) {
    await terminal.print(line(topic))
    return EXIT.done
  }
  const facts: [string, string][] = [
    ['topic', topic.name],
    ['keeps', keepsText(topic)],
    ['durability', topic.durability],
    ['largest message', bytesText(topic.maxMessageBytes)],
    ['idempotency keys', `known for ${durationText(topic.deduplicationWindowMs)}`],
    ['segments', `of ${bytesText(topic.segmentBytes)}`],
    ['schema', topic.schema === null ? 'none' : `yes (compatibility: ${topic.schemaCompatibility})`],
  ]
  const columns = [
    { title: 'PARTITION' },
    ...['EARLIEST', 'NEXT', 'BYTES', 'SEGMENTS'].map(rightOf),
    { title: 'LEADER' },
  ]
  const rows = topic.partitionStates.map(({ partition, earliestOffset, nextOffset, bytes, segments, leader }) =>
    [partition, countText(earliestOffset), countText(nextOffset), bytesText(bytes), segments, leader].map(String),
  )
  await terminal.print(`${renderFacts(facts)}\n${renderTable(columns, rows, terminal.width)}`)
  return EXIT.done
}

export async function remove(context: Context): Promise<number> {
  const { call, api, terminal } = context
  const topic = call.arg('topic')
  const { partitionStates } = await api().get<TopicJson>(topicPath(topic))
  const { subscriptions } = await api().get<{ subscriptions: object[] }>(`${topicPath(topic)}/subscriptions`)
  const count = partitionStates.reduce((sum, { nextOffset, earliestOffset }) => sum + nextOffset - earliestOffset, 0)
  const loss = `${countText(count)} offsets and ${subscriptions.length} subscriptions`
  if (!(await confirmed(context, `delete the topic ${topic} with ${loss}`))) return EXIT.failed
  await api().delete(topicPath(topic))
  await terminal.print(call.isOn('json') ? line({ topic, deleted: true }) : `${topic} deleted, with ${loss}\n`)
  return EXIT.done
}

async function settingsOf(call: Call): Promise<Record<string, unknown>> {
  const body = call.settings()
  const file = call.given('schema')
  if (file === null) body['schema'] = null
  else if (typeof file === 'string') body['schema'] = await schemaIn(file)
  return body
}

async function schemaIn(path: string): Promise<unknown> {
  const text = await readFile(path, 'utf8').catch(() => {
    throw new UsageError(`--schema ${path}: the file cannot be read`)
  })
  try {
    return JSON.parse(text)
  } catch {
    throw new UsageError(`--schema ${path}: the file is not JSON`)
  }
}

function keepsText({ retention, compact }: TopicSettings): string {
  const { maxAgeMs, maxBytes, untilAcked } = retention
  const parts = [
    ...(compact ? ['the last of each key'] : []),
    ...(untilAcked ? ['until acknowledged'] : []),
    ...(maxAgeMs === null ? [] : [durationText(maxAgeMs)]),
    ...(maxBytes === null ? [] : [`${bytesText(maxBytes)} a partition`]),
  ]
  return parts.length === 0 ? 'everything' : parts.join(', ')
}

function partitionsText({ partitions }: TopicSettings): string {
  return partitions === 1 ? '1 partition' : `${partitions} partitions`
}

function rightOf(title: string): { title: string; align: 'right' } {
  return { title, align: 'right' }
}

function line(value: unknown): string {
  return `${JSON.stringify(value)}\n`
}
