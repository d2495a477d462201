/**
 * Where a value stands in a JSON text. JSON.parse loses what the producer wrote (digits beyond a
 * double, 1e999, the order and spelling of members), so a batch cuts each message's value out of its
 * own text, byte for byte. The text was accepted by JSON.parse before: this scanner only finds, it
 * does not check. Pure; called by batch-request.ts.
 */

/** Half-open range of a text. */
export interface Span {
  from: number
  to: number
}

const QUOTE = 0x22
const COMMA = 0x2c
const BACKSLASH = 0x5c
const OPEN_ARRAY = 0x5b
const CLOSE_ARRAY = 0x5d
const OPEN_OBJECT = 0x7b
const CLOSE_OBJECT = 0x7d

/** The value of a member of the object that begins at or after `at`; of several of that name the last, as in JSON.parse. */
export function memberSpan(text: string, at: number, name: string): Span | null {
  let found: Span | null = null
  let i = skipSpace(text, at) + 1
  for (;;) {
    i = skipSpace(text, i)
    if (text.charCodeAt(i) !== QUOTE) return found
    const nameEnd = stringEnd(text, i)
    const isNamed = spells(text, i, nameEnd, name)
    const from = skipSpace(text, skipSpace(text, nameEnd) + 1)
    const to = valueEnd(text, from)
    if (isNamed) found = { from, to }
    i = skipSpace(text, to)
    if (text.charCodeAt(i) !== COMMA) return found
    i++
  }
}

/** The elements of the array that begins at or after `at`. */
export function elementSpans(text: string, at: number): Span[] {
  const spans: Span[] = []
  let i = skipSpace(text, skipSpace(text, at) + 1)
  while (i < text.length && text.charCodeAt(i) !== CLOSE_ARRAY) {
    const to = valueEnd(text, i)
    spans.push({ from: i, to })
    i = skipSpace(text, to)
    if (text.charCodeAt(i) !== COMMA) break
    i = skipSpace(text, i + 1)
  }
  return spans
}

function skipSpace(text: string, at: number): number {
  let i = at
  for (;;) {
    const code = text.charCodeAt(i)
    if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return i
    i++
  }
}

/** Whether the string literal from `from` to `to` (quotes included) spells the name, escapes resolved. */
function spells(text: string, from: number, to: number, name: string): boolean {
  if (to - from - 2 === name.length && text.startsWith(name, from + 1)) return true
  const escape = text.indexOf('\\', from)
  return escape !== -1 && escape < to && JSON.parse(text.slice(from, to)) === name
}

/** The position after the string literal that begins at `at`. */
function stringEnd(text: string, at: number): number {
  let i = at
  for (;;) {
    i = text.indexOf('"', i + 1)
    if (i === -1) return text.length
    let back = i - 1
    while (text.charCodeAt(back) === BACKSLASH) back--
    if ((i - back) % 2 === 1) return i + 1
  }
}

/** The position after the value that begins at `at`; nesting is counted, never recursed into. */
function valueEnd(text: string, at: number): number {
  let depth = 0
  let i = at
  while (i < text.length) {
    const code = text.charCodeAt(i)
    if (code === QUOTE) {
      i = stringEnd(text, i)
      if (depth === 0) return i
      continue
    }
    if (code === OPEN_OBJECT || code === OPEN_ARRAY) depth++
    else if (code === CLOSE_OBJECT || code === CLOSE_ARRAY) {
      if (depth === 0) return i
      depth--
      if (depth === 0) return i + 1
    } else if (depth === 0 && (code === COMMA || code <= 0x20)) return i
    i++
  }
  return i
}
