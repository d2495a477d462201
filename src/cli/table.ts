/** Rows of cells as lines: columns as wide as their widest cell, numbers to the right. Pure. */
import { printable } from './printable.ts'

export interface Column {
  title: string
  align?: 'right'
}

const GAP = '  '

/** Cut to `width` characters where there is one; text of others is made harmless. */
export function renderTable(columns: readonly Column[], rows: readonly (readonly string[])[], width?: number): string {
  const cells = [columns.map(({ title }) => title), ...rows.map((row) => row.map(printable))]
  const widths = columns.map((_, at) => Math.max(...cells.map((row) => widthOf(row[at] ?? ''))))
  const lines = cells.map((row) => {
    const padded = columns.map(({ align }, at) => {
      const cell = row[at] ?? ''
      const fill = ' '.repeat(widths[at]! - widthOf(cell))
      return align === 'right' ? fill + cell : cell + fill
    })
    const line = padded.join(GAP).trimEnd()
    return width === undefined || widthOf(line) <= width
      ? line
      : `${Array.from(line)
          .slice(0, width - 1)
          .join('')}…`
  })
  return `${lines.join('\n')}\n`
}

/** Names with their values, one a line. */
export function renderFacts(facts: readonly (readonly [name: string, value: string])[]): string {
  const width = Math.max(...facts.map(([name]) => widthOf(name)))
  return facts.map(([name, value]) => `${name.padEnd(width)}${GAP}${printable(value)}\n`).join('')
}

function widthOf(text: string): number {
  return Array.from(text).length
}
