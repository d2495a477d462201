/** Bytes as base64 text and back, standard alphabet with padding, the same in every JavaScript. A codec. */

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'
const CODES = Uint8Array.from(ALPHABET, (character) => character.charCodeAt(0))
const PADDING = 61
const ascii = new TextDecoder('latin1')
const VALUES = new Uint8Array(128)
CODES.forEach((code, value) => {
  VALUES[code] = value
})

export function toBase64(bytes: Uint8Array): string {
  const text = new Uint8Array(Math.ceil(bytes.length / 3) * 4)
  let at = 0
  for (let i = 0; i < bytes.length; i += 3) {
    const three = (bytes[i]! << 16) | ((bytes[i + 1] ?? 0) << 8) | (bytes[i + 2] ?? 0)
    text[at++] = CODES[three >>> 18]!
    text[at++] = CODES[(three >>> 12) & 63]!
    text[at++] = i + 1 < bytes.length ? CODES[(three >>> 6) & 63]! : PADDING
    text[at++] = i + 2 < bytes.length ? CODES[three & 63]! : PADDING
  }
  return ascii.decode(text)
}

/** What is not base64 gives bytes that mean nothing: only the broker's own output comes here. */
export function fromBase64(text: string): Uint8Array {
  const padding = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0
  const bytes = new Uint8Array(Math.max(0, (text.length >>> 2) * 3 - padding))
  let at = 0
  for (let i = 0; i + 3 < text.length; i += 4) {
    const four =
      (VALUES[text.charCodeAt(i) & 127]! << 18) |
      (VALUES[text.charCodeAt(i + 1) & 127]! << 12) |
      (VALUES[text.charCodeAt(i + 2) & 127]! << 6) |
      VALUES[text.charCodeAt(i + 3) & 127]!
    bytes[at++] = four >>> 16
    bytes[at++] = four >>> 8
    bytes[at++] = four
  }
  return bytes
}
