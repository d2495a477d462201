/**
 * CloudEvents attributes as the values of HTTP headers, which is also how a message keeps them: percent-encoded
 * where a header could not hold the character (HTTP binding 1.0, 3.1.3.2); and which content types mean JSON
 * there. Pure; used in both directions.
 */

const PLAIN = /^[\x21\x23\x24\x26-\x7e]*$/
const ENCODED = /[^\x21\x23\x24\x26-\x7e]+/gu
const QUOTED = /^"((?:[^"\\]|\\.)*)"$/s

export function encodeAttribute(text: string): string {
  if (PLAIN.test(text)) return text
  return text.replace(ENCODED, (part) => Buffer.from(part).toString('hex').toUpperCase().replace(/../g, '%$&'))
}

/** What was encoded, or, where that is no encoding after all, the text as it stands: nobody checked it when it came. */
export function decodeAttribute(text: string): string {
  const unquoted = QUOTED.exec(text)?.[1]?.replace(/\\(.)/gs, '$1') ?? text
  if (!unquoted.includes('%')) return unquoted
  try {
    return decodeURIComponent(unquoted)
  } catch {
    return unquoted
  }
}

/** Whether data of that type is a JSON value in the JSON format: of any subtype `json` or `+json`. */
export function declaresJson(contentType: string): boolean {
  const media = contentType.split(';', 1)[0]!.trim().toLowerCase()
  return media.endsWith('/json') || media.endsWith('+json')
}
