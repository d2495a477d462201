/** What is published in the benches: 256 bytes a value, the same in every run. */
import type { Request } from './connections.ts'

const VALUE_BYTES = 256

/** A JSON value of 256 bytes that begins with a number of the caller's. */
export function jsonValue(number: number): string {
  const head = `{"at":${number.toFixed(3)},"text":"`
  return `${head}${'tidings '.repeat(VALUE_BYTES / 8).slice(0, VALUE_BYTES - head.length - 2)}"}`
}

export function singlePublish(topic: string, number = 0): Request {
  return {
    path: `/v1/topics/${topic}/messages`,
    headers: { 'content-type': 'application/json' },
    body: Buffer.from(jsonValue(number)),
  }
}

/** `count` messages in one NDJSON body. */
export function batchPublish(topic: string, count: number, number = 0): Request {
  const line = `{"value":${jsonValue(number)}}\n`
  return {
    path: `/v1/topics/${topic}/messages/batch`,
    headers: { 'content-type': 'application/x-ndjson' },
    body: Buffer.from(line.repeat(count)),
  }
}
