/**
 * What to do with each segment when a log is opened: from what a scan saw to keep, seal, cut, recreate
 * or refuse. The table is the whole decision; `recover` demands that exactly one row matches.
 * Must stay true (S-TORN): bytes are cut only where nothing proves that they ever were durable.
 * A proof is a durable position carried by any valid batch of the segment, also behind the bad
 * place, or by the checkpoint.
 */
import { assert } from '../base/invariant.ts'
import { FORMAT_VERSION, type HeaderCheck } from './format.ts'

export interface SegmentFacts {
  /** The last segment of the log, or one that has a successor. */
  role: 'last' | 'inner'
  header: HeaderCheck
  /** A footer whose own checks passed. */
  footer: 'valid' | 'none'
  /** The valid content ends where the successor begins (inner), as told by the footer or the scan. */
  meetsNext: boolean
  /** What follows the last valid batch: nothing, unwritten space, or something else. Irrelevant with a footer. */
  rest: 'nothing' | 'zeros' | 'garbage'
  /** The end of the valid batches lies before a position that is proven durable. */
  provenLost: boolean
}

export type SegmentAction =
  /** Sealed, nothing to do. */
  | 'keep'
  /** Goes on as the active segment. */
  | 'continue'
  /** Whole, but its footer was never finished: write it. */
  | 'seal'
  /** A torn tail: cut behind the last valid batch, then go on. */
  | 'cut'
  /** Its creation was never finished and it holds nothing: make it anew. */
  | 'recreate'
  /** Bytes that were durable are gone or damaged: touch nothing, serve nothing. */
  | 'corrupt'
  /** Written by another version. */
  | 'older'
  | 'newer'

interface Row {
  when: Partial<{ [K in keyof SegmentFacts]: readonly SegmentFacts[K][] }>
  then: SegmentAction
  why: string
}

/** What a person is told of files that another version wrote. */
export function writtenBy(version: 'older' | 'newer'): string {
  const reads = `this one reads format version ${FORMAT_VERSION} only`
  return version === 'newer'
    ? `it was written by a newer version of tidings, and ${reads}: start that version, or a newer one`
    : `it was written by an older version of tidings, and ${reads}: start that version, or begin with an empty data directory`
}

export const TABLE: readonly Row[] = [
  { when: { header: ['older'] }, then: 'older', why: writtenBy('older') },
  { when: { header: ['newer'] }, then: 'newer', why: writtenBy('newer') },
  { when: { header: ['bad'], role: ['inner'] }, then: 'corrupt', why: 'its header is damaged' },
  { when: { header: ['bad'], role: ['last'], footer: ['valid'] }, then: 'corrupt', why: 'its header is damaged' },
  {
    when: { header: ['bad'], role: ['last'], footer: ['none'], provenLost: [true] },
    then: 'corrupt',
    why: 'its header is damaged, and it held durable batches',
  },
  {
    when: { header: ['bad'], role: ['last'], footer: ['none'], provenLost: [false] },
    then: 'recreate',
    why: 'its creation was cut short, nothing was ever stored in it',
  },
  {
    when: { header: ['ok'], role: ['inner'], footer: ['valid'], meetsNext: [true] },
    then: 'keep',
    why: 'sealed',
  },
  {
    when: { header: ['ok'], role: ['inner'], footer: ['none'], meetsNext: [true] },
    then: 'seal',
    why: 'whole, but its footer was not finished',
  },
  {
    when: { header: ['ok'], role: ['inner'], meetsNext: [false] },
    then: 'corrupt',
    why: 'offsets are missing between it and the next segment',
  },
  { when: { header: ['ok'], role: ['last'], footer: ['valid'] }, then: 'keep', why: 'sealed' },
  {
    when: { header: ['ok'], role: ['last'], footer: ['none'], provenLost: [true] },
    then: 'corrupt',
    why: 'a batch that was durable is damaged or gone',
  },
  {
    when: { header: ['ok'], role: ['last'], footer: ['none'], provenLost: [false], rest: ['nothing', 'zeros'] },
    then: 'continue',
    why: 'it ends with a whole batch',
  },
  {
    when: { header: ['ok'], role: ['last'], footer: ['none'], provenLost: [false], rest: ['garbage'] },
    then: 'cut',
    why: 'the last write was torn before it was ever answered',
  },
]

export function recover(facts: SegmentFacts): { action: SegmentAction; why: string } {
  const rows = TABLE.filter((row) => matches(row, facts))
  const [row] = rows
  assert(row !== undefined && rows.length === 1, `${rows.length} recovery rows for ${JSON.stringify(facts)}`)
  return { action: row.then, why: row.why }
}

function matches(row: Row, facts: SegmentFacts): boolean {
  return Object.entries(row.when).every(([fact, values]) =>
    (values as readonly unknown[]).includes(facts[fact as keyof SegmentFacts]),
  )
}
