/**
 * Judges a history: every kind of wrong that clients of one broker can observe has a code, a count and a
 * few samples. Pure. A run in which too little happened is invalid, which is not the same as good.
 * The rules that concern the log are here, those of deliveries in delivery-checks.ts.
 */
import { checkDeliveries } from './delivery-checks.ts'
import type { HistoryEvent } from './history.ts'
import { type Facts, positionKey, Report, type ValueRecord, type Verdict } from './history-verdict.ts'

export function check(events: readonly HistoryEvent[], facts: Facts): Verdict {
  const report = new Report()
  const values = collectValues(events)
  const positions = collectPositions(events, values, report)
  for (const [value, record] of values) checkValue(value, record, report)
  if (facts.drained) checkGaps(positions, report)
  checkSendOrder(events, report)
  checkEnds(events, report)
  const counts = checkDeliveries(events, facts, values, positions, report)
  const records = [...values.values()]
  const published = records.filter((record) => record.ok > 0).length
  return {
    anomalies: report.anomalies,
    invalid: invalidity(events, facts, published),
    published,
    unanswered: records.filter((record) => record.ok === 0 && record.info + record.open > 0).length,
    recovered: records.filter((record) => record.ok === 0 && record.seen.size > 0).length,
    ...counts,
  }
}

function collectValues(events: readonly HistoryEvent[]): Map<string, ValueRecord> {
  const values = new Map<string, ValueRecord>()
  const publishes = new Map<number, ValueRecord>()
  for (const event of events) {
    if (event.op !== 'pub') continue
    if (event.ph === 'inv') {
      const { value, hash, idempotent } = event
      const fresh = { hash, idempotent, ok: 0, info: 0, fail: 0, open: 0 }
      const record = values.get(value) ?? { ...fresh, receipts: new Set<string>(), seen: new Set<string>() }
      record.open++
      values.set(value, record)
      publishes.set(event.id, record)
    } else {
      const record = publishes.get(event.id)
      if (!record) throw new Error(`publish ${event.id} ends without a beginning`)
      record.open--
      record[event.ph]++
      if (event.ph === 'ok') record.receipts.add(positionKey(event))
    }
  }
  return values
}

/** Which value each position holds, over receipts, deliveries and reads; they must all agree. */
function collectPositions(
  events: readonly HistoryEvent[],
  values: ReadonlyMap<string, ValueRecord>,
  report: Report,
): Map<string, string> {
  const positions = new Map<string, string>()
  const put = (key: string, value: string): void => {
    const known = positions.get(key)
    if (known !== undefined && known !== value) report.add('INCONSISTENT_OFFSET', `${key} holds ${known} and ${value}`)
    else positions.set(key, value)
  }
  for (const [value, record] of values) for (const key of record.receipts) put(key, value)
  for (const event of events) {
    if (event.op !== 'dlv' && event.op !== 'read') continue
    const key = positionKey(event)
    put(key, event.value)
    const record = values.get(event.value)
    if (!record) report.add('PHANTOM', `${key} gives ${event.value}, which nobody published`)
    else if (record.hash !== event.hash) report.add('PHANTOM', `${key} gives ${event.value} with other bytes`)
    record?.seen.add(key)
  }
  return positions
}

function checkValue(value: string, record: ValueRecord, report: Report): void {
  const { ok, info, fail, open, idempotent, receipts, seen } = record
  if (ok + info + open === 0 && fail > 0 && seen.size > 0) {
    report.add('ABORTED_READ', `${value} was refused and is at ${[...seen].join(', ')}`)
  }
  const missed = [...receipts].filter((key) => !seen.has(key))
  if (missed.length > 0 && seen.size > 0 && [...seen].every((key) => !receipts.has(key))) {
    report.add('WRONG_OFFSET', `${value} was answered ${missed.join(', ')} and is at ${[...seen].join(', ')}`)
  }
  const places = new Set([...receipts, ...seen])
  const allowed = idempotent ? 1 : ok + info + open
  if (places.size > Math.max(allowed, 1)) report.add('DUP_LOG', `${value} is at ${[...places].join(', ')}`)
}

function checkGaps(positions: ReadonlyMap<string, string>, report: Report): void {
  const ends = new Map<number, number>()
  for (const key of positions.keys()) {
    const [partition, offset] = key.split(':').map(Number) as [number, number]
    ends.set(partition, Math.max(ends.get(partition) ?? 0, offset + 1))
  }
  for (const [partition, end] of ends) {
    for (let offset = 0; offset < end; offset++) {
      const key = positionKey({ partition, offset })
      if (!positions.has(key)) report.add('OFFSET_GAP', `${key} was never seen, and the log goes on to ${end}`)
    }
  }
}

/** A publish that begins after another was answered gets a higher offset in the same partition. */
function checkSendOrder(events: readonly HistoryEvent[], report: Report): void {
  const highest = new Map<number, number>()
  const floors = new Map<number, Map<number, number>>()
  for (const event of events) {
    if (event.op !== 'pub') continue
    if (event.ph === 'inv') floors.set(event.id, new Map(highest))
    else if (event.ph === 'ok' && !event.duplicate) {
      const floor = floors.get(event.id)?.get(event.partition) ?? -1
      if (event.offset <= floor) report.add('SEND_REORDER', `${positionKey(event)} came after ${floor} was answered`)
      highest.set(event.partition, Math.max(highest.get(event.partition) ?? -1, event.offset))
    }
    if (event.ph !== 'inv') floors.delete(event.id)
  }
}

/** An end that is shown lies beyond every end and every delivery that was seen before it was asked for. */
function checkEnds(events: readonly HistoryEvent[], report: Report): void {
  const known = new Map<number, number>()
  const floors = new Map<number, Map<number, number>>()
  const raise = (partition: number, end: number): void => {
    known.set(partition, Math.max(known.get(partition) ?? 0, end))
  }
  for (const event of events) {
    if (event.op === 'dlv') raise(event.partition, event.offset + 1)
    if (event.op !== 'hw') continue
    if (event.ph === 'inv') {
      floors.set(event.id, new Map(known))
      continue
    }
    const { partition, end } = event
    const before = floors.get(event.id)?.get(partition) ?? 0
    if (end < before) report.add('HW_BACK', `partition ${partition} ended at ${before} and then at ${end}`)
    raise(partition, end)
  }
}

function invalidity(events: readonly HistoryEvent[], facts: Facts, published: number): string[] {
  const reasons: string[] = []
  if (published < facts.minPublished)
    reasons.push(`only ${published} publishes were answered, not ${facts.minPublished}`)
  const happened = new Set(events.map((event) => (event.op === 'fault' ? event.kind : '')))
  for (const kind of facts.faults) if (!happened.has(kind)) reasons.push(`the fault ${kind} never happened`)
  return reasons
}
