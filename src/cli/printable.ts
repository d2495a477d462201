/**
 * Text of others on a person's terminal: what would move the cursor, change colours or ring the bell is shown as an
 * escape instead. A message's value may come from anybody. Pure.
 */

// Terminals act on the control characters of both sets; the others turn the direction of writing, or break lines.
const CONTROLS = /[\p{Cc}\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu

export function printable(text: string): string {
  return text.replace(CONTROLS, (character) => {
    if (character === '\n') return '\\n'
    if (character === '\t') return '\\t'
    if (character === '\r') return '\\r'
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
  })
}
