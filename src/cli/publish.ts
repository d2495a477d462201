/** Publishes one message (an argument, a file, standard input), or a file with one a line. */
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { type Client, createClient, type PublishOptions, type PublishReceipt } from '@tidings/sdk'
import { HEADER, LIMITS, TidingsError } from '@tidings/sdk/protocol'
import type { Call } from './call.ts'
import { type Context, EXIT, UsageError } from './command.ts'
import { placeOf } from './place.ts'
import { PublishFile } from './publish-file.ts'
import { readValue } from './publish-line.ts'

const ONE_MS = 30_000
const SOURCES = ['file', 'ndjson', 'lines'] as const

interface Source {
  kind: 'value' | (typeof SOURCES)[number]
  chunks: AsyncIterable<Uint8Array>
  /** Null where nobody knows. */
  bytes: number | null
}

export async function publish(context: Context): Promise<number> {
  const { call, api } = context
  const options = optionsOf(call)
  const source = await sourceOf(context)
  const { kind } = source
  const isFile = kind === 'ndjson' || kind === 'lines'
  refuseMisplaced(call, isFile)
  // The client is patient; a person wants to hear at once that nobody is there.
  await api().reach()
  const { urls: url, token } = placeOf(call)
  const client = createClient({ url, ...(token === undefined ? {} : { token }) })
  try {
    if (!isFile) return await publishOne(context, client, source, options)
    const { terminal, clock } = context
    const file = new PublishFile({ client, call, terminal, clock, options, kind })
    return await file.run(source)
  } finally {
    await client.close({ timeoutMs: 0 })
  }
}

async function publishOne(
  { call, terminal }: Context,
  client: Client,
  { chunks }: Source,
  options: PublishOptions,
): Promise<number> {
  const { value, options: type } = readValue(await whole(chunks), options.contentType)
  const topic = client.topic(call.arg('topic'))
  const receipt = await topic.publish(value, { timeoutMs: ONE_MS, ...options, ...type })
  await terminal.print(call.isOn('json') ? `${JSON.stringify(receipt)}\n` : receiptText(receipt))
  return EXIT.done
}

function receiptText({ topic, id, scheduled, duplicate }: PublishReceipt): string {
  if (scheduled) return `${topic}: scheduled for ${scheduled.deliverAt} as ${scheduled.id}\n`
  return `${topic}: stored at ${id}${duplicate ? ', where it was already' : ''}\n`
}

async function sourceOf({ call, terminal }: Context): Promise<Source> {
  const value = call.optionalArg('value')
  const given = SOURCES.filter((name) => call.text(name) !== undefined)
  if (given.length + (value === undefined ? 0 : 1) > 1)
    throw new UsageError('publish: give one of <value>, --file, --ndjson and --lines')
  const kind = given[0] ?? 'value'
  const path = given[0] === undefined ? (value === undefined ? '-' : undefined) : call.text(given[0])
  if (path === undefined) return { kind, chunks: one(Buffer.from(value!)), bytes: null }
  if (path !== '-') {
    const file = await stat(path).catch(() => null)
    if (file === null || file.isDirectory()) throw new UsageError(`--${kind} ${path}: the file cannot be read`)
    return { kind, chunks: createReadStream(path), bytes: file.isFile() ? file.size : null }
  }
  if (terminal.input === null)
    throw new UsageError('publish: the value is missing; give it as an argument, or pipe it in')
  return { kind, chunks: terminal.input, bytes: null }
}

function refuseMisplaced(call: Call, isFile: boolean): void {
  const wrong = isFile ? ['key', 'partition'] : ['from-line', 'fail-fast']
  const found = wrong.find((name) => call.given(name) !== undefined)
  if (found === undefined) return
  throw new UsageError(
    isFile
      ? `--${found}: the messages of a file have their own; write it into its lines (--ndjson)`
      : `--${found} is for --ndjson and --lines`,
  )
}

function optionsOf(call: Call): PublishOptions {
  const key = call.text('key')
  const partition = call.number('partition')
  const contentType = call.text('content-type')
  const ttlMs = call.number('ttl')
  const delayMs = call.number('delay')
  const deliverAt = call.text('at')
  const idempotencyKey = call.text(HEADER.idempotencyKey)
  const timeoutMs = call.number('timeout')
  const headers = headersOf(call.list('header'))
  return {
    ...(key === undefined ? {} : { key }),
    ...(partition === undefined ? {} : { partition }),
    ...(contentType === undefined ? {} : { contentType }),
    ...(ttlMs === undefined ? {} : { ttlMs }),
    ...(delayMs === undefined ? {} : { delayMs }),
    ...(deliverAt === undefined ? {} : { deliverAt }),
    ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    ...(headers === undefined ? {} : { headers }),
  }
}

function headersOf(given: readonly string[]): Record<string, string> | undefined {
  if (given.length === 0) return undefined
  return Object.fromEntries(
    given.map((text) => {
      const at = text.indexOf('=')
      if (at < 1) throw new UsageError(`--header: ${JSON.stringify(text)} is not NAME=TEXT`)
      return [text.slice(0, at), text.slice(at + 1)]
    }),
  )
}

async function whole(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of chunks) {
    bytes += chunk.length
    if (bytes > LIMITS.messageBytesCeiling)
      throw new TidingsError(
        'message_too_large',
        `no broker takes a value of more than ${LIMITS.messageBytesCeiling} bytes`,
      )
    parts.push(chunk)
  }
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts)
}

async function* one(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}
