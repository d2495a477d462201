/**
 * Shows what is in a segment file: header, batches, records, how it ends. Every byte is checked on the way. Reads only,
 * and holds no more in memory than it prints.
 */
import { basename, dirname } from 'node:path'
import {
  formatTimestamp,
  recordExpiresAt,
  recordHeaders,
  recordIdempotencyKey,
  recordKey,
  recordValueAt,
  valueKind,
} from '@tidings/sdk/protocol'
import { errorCode } from '../base/disk.ts'
import { nodeDisk } from '../base/node-disk.ts'
import { decodeSegmentHeader, SEGMENT_HEADER_BYTES } from '../log/format.ts'
import type { RecordBatch } from '../log/record-batch.ts'
import { closes, readFooter, scanSegment } from '../log/segment-scan.ts'
import { bytesText, countText } from './amount.ts'
import { type Context, EXIT } from './command.ts'
import { printable } from './printable.ts'

const DEFAULT_LIMIT = 1000

interface Shown {
  offset: number
  timestamp: string
  key: string | null
  idempotencyKey?: string
  contentType: string
  headers: Record<string, string>
  expiresAt?: string
  valueBytes: number
  value?: unknown
  base64?: string
}

interface BatchFacts {
  position: number
  baseOffset: number
  nextOffset: number
  count: number
  bytes: number
  timestamp: string
  durablePosition: number
  epoch: number
}

export async function segmentDump({ call, terminal }: Context): Promise<number> {
  const path = call.arg('file')
  const file = await nodeDisk(dirname(path))
    .open(basename(path), 'read')
    .catch((error: unknown) => {
      throw new Error(`${path} cannot be read (${errorCode(error) ?? 'unknown'})`, { cause: error })
    })
  try {
    const header = decodeSegmentHeader(await file.read(0, Math.min(SEGMENT_HEADER_BYTES, await file.size())))
    if (header === null) throw new Error(`${path} does not begin as a segment of this version does`)
    const { baseOffset, tag, nonce, createdAt } = header
    const footer = await readFooter(file, nonce)
    const wanted = { from: call.number('from') ?? 0, limit: call.number('limit') ?? DEFAULT_LIMIT }
    const found: { batch: BatchFacts; records: Shown[] }[] = []
    let shown = 0
    const valuesOf = call.isOn('values') ? (call.isOn('json') ? valueJson : valueText) : null
    const onBatch = (batch: RecordBatch, position: number): void => {
      if (shown >= wanted.limit || batch.nextOffset <= wanted.from) return
      const records = recordsOf(batch, wanted.from, wanted.limit - shown, valuesOf)
      shown += records.length
      found.push({ batch: factsOf(batch, position), records })
    }
    const scan = await scanSegment(file, baseOffset, tag, footer ? { limit: footer.dataEnd, onBatch } : { onBatch })
    const isWhole = scan.rest !== 'garbage' && (footer === null || closes(footer, scan))
    const summary = {
      baseOffset,
      nextOffset: scan.content.nextOffset,
      createdAt: formatTimestamp(createdAt),
      tag,
      sealed: footer !== null,
      batches: scan.content.batches,
      records: scan.content.records,
      bytes: await file.size(),
      dataEnd: scan.content.end,
      rest: scan.rest,
      whole: isWhole,
      ...(isWhole ? {} : { stoppedBy: scan.stoppedBy }),
    }
    const print = call.isOn('json') ? jsonText : plainText
    for (const { batch, records } of found) if (!(await terminal.print(print.batch(batch, records)))) break
    await terminal.print(print.summary(summary, shown))
    return isWhole ? EXIT.done : EXIT.failed
  } finally {
    await file.close()
  }
}

function factsOf(batch: RecordBatch, position: number): BatchFacts {
  const { baseOffset, nextOffset, count, timestamp, durablePosition, leaderEpoch } = batch
  const bytes = batch.bytes.length
  const time = formatTimestamp(timestamp)
  return { position, baseOffset, nextOffset, count, bytes, timestamp: time, durablePosition, epoch: leaderEpoch }
}

function recordsOf(batch: RecordBatch, from: number, limit: number, valuesOf: ValuesOf | null): Shown[] {
  const records: Shown[] = []
  for (const offset of batch.offsets()) {
    if (offset < from) continue
    if (records.length >= limit) break
    records.push(recordOf(batch, offset, valuesOf))
  }
  return records
}

function recordOf(batch: RecordBatch, offset: number, valueOf: ValuesOf | null): Shown {
  const { bytes } = batch
  const at = batch.positionOf(offset)
  const { contentType, headers } = recordHeaders(bytes, at)
  const value = bytes.subarray(recordValueAt(bytes, at), at + 4 + bytes.readUInt32BE(at))
  const key = recordKey(bytes, at)
  const idempotencyKey = recordIdempotencyKey(bytes, at)
  const expiresAt = recordExpiresAt(bytes, at)
  return {
    offset,
    timestamp: formatTimestamp(batch.timestamp),
    key: key === null ? null : Buffer.from(key).toString(),
    ...(idempotencyKey === null ? {} : { idempotencyKey: Buffer.from(idempotencyKey).toString() }),
    contentType,
    headers: Object.fromEntries(headers),
    ...(expiresAt === null ? {} : { expiresAt: formatTimestamp(expiresAt) }),
    valueBytes: value.length,
    ...valueOf?.(value, contentType),
  }
}

type ValuesOf = (value: Buffer, contentType: string) => { value?: unknown; base64?: string }

/** Exactly what is stored, where it is text. */
function valueText(value: Buffer, contentType: string): { value?: string; base64?: string } {
  try {
    if (valueKind(contentType) !== 'binary')
      return { value: new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(value) }
  } catch {
    // It is not the text that it claims to be: shown as bytes.
  }
  return { base64: value.toString('base64') }
}

function valueJson(value: Buffer, contentType: string): { value?: unknown; base64?: string } {
  const shown = valueText(value, contentType)
  if (shown.value === undefined || valueKind(contentType) === 'text') return shown
  try {
    return { value: JSON.parse(shown.value) as unknown }
  } catch {
    return { base64: value.toString('base64') }
  }
}

interface Summary {
  baseOffset: number
  nextOffset: number
  createdAt: string
  sealed: boolean
  batches: number
  records: number
  bytes: number
  rest: string
  whole: boolean
  stoppedBy?: string
  dataEnd: number
}

const plainText = {
  batch(batch: BatchFacts, records: readonly Shown[]): string {
    const { position, baseOffset, nextOffset, count, bytes, timestamp, epoch } = batch
    const head = `batch at ${position}: offsets ${baseOffset} to ${nextOffset}, ${count} records, ${bytesText(bytes)}, epoch ${epoch}, ${timestamp}\n`
    return head + records.map(recordLine).join('')
  },
  summary(summary: Summary, shown: number): string {
    const { baseOffset, nextOffset, createdAt, sealed, batches, records, bytes } = summary
    const more = shown < records ? `${countText(shown)} records shown; more with --from and --limit\n` : ''
    const end = summary.whole
      ? ''
      : `NOT WHOLE: at byte ${summary.dataEnd} it is no longer a batch (${summary.stoppedBy}); "tidings verify" says whether that was durable\n`
    return `${more}segment ${baseOffset} to ${nextOffset}, ${sealed ? 'sealed' : 'not sealed'}, created ${createdAt}: ${countText(batches)} batches, ${countText(records)} records, ${bytesText(bytes)}\n${end}`
  },
}

const jsonText = {
  batch: (batch: BatchFacts, records: readonly Shown[]): string =>
    [{ type: 'batch', ...batch }, ...records.map((record) => ({ type: 'record', ...record }))]
      .map((value) => `${JSON.stringify(value)}\n`)
      .join(''),
  summary: (summary: Summary): string => `${JSON.stringify({ type: 'segment', ...summary })}\n`,
}

function recordLine({ offset, key, contentType, headers, valueBytes, value, base64 }: Shown): string {
  const parts = [`  ${offset}`, key === null ? '-' : printable(key), contentType, `${valueBytes} B`]
  const named = Object.entries(headers).map(([name, text]) => printable(`${name}=${text}`))
  const shown = base64 ?? (value as string | undefined)
  return `${[...parts, ...named, ...(shown === undefined ? [] : [printable(shown)])].join('  ')}\n`
}
