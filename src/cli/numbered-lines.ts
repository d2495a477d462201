/** A stream of bytes as lines with their numbers. Of a line that is too long only its number is kept. */
export interface NumberedLine {
  /** From 1. */
  number: number
  /** Without its end; null when it was too long. */
  bytes: Uint8Array | null
  /** Bytes of the stream up to the end of this line. */
  through: number
}

const NEWLINE = 10
const RETURN = 13

/** The last line may lack its end. */
export async function* numberedLines(
  chunks: AsyncIterable<Uint8Array>,
  maxBytes: number,
): AsyncGenerator<NumberedLine> {
  let number = 0
  let through = 0
  let parts: Uint8Array[] = []
  let length = 0
  const take = (): NumberedLine => {
    number += 1
    const line = { number, bytes: length > maxBytes ? null : withoutReturn(joined(parts)), through }
    parts = []
    length = 0
    return line
  }
  for await (const chunk of chunks) {
    let from = 0
    for (let at = chunk.indexOf(NEWLINE); at !== -1; at = chunk.indexOf(NEWLINE, from)) {
      add(chunk.subarray(from, at))
      through += at + 1 - from
      from = at + 1
      yield take()
    }
    add(chunk.subarray(from))
    through += chunk.length - from
  }
  if (length > 0) yield take()

  function add(part: Uint8Array): void {
    length += part.length
    if (length > maxBytes) parts = []
    else if (part.length > 0) parts.push(part)
  }
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts)
}

function withoutReturn(bytes: Uint8Array): Uint8Array {
  return bytes.at(-1) === RETURN ? bytes.subarray(0, -1) : bytes
}
