/** What stands in a topic, read as anybody would read it: through the routes of the HTTP API. */
import { checkName, LIMITS, type MessageJson, TidingsError } from '@tidings/sdk/protocol'
import { type TestMessage, testMessage } from './test-message.ts'
import type { Testbed, TestMethod } from './testbed.ts'

/** The answer's body. Rejects with the error that it tells. */
export async function ask(bed: Testbed, method: TestMethod, path: string, body?: unknown): Promise<unknown> {
  const { status, body: answer } = await bed.request(method, path, body)
  if (status < 400) return answer
  const { code, detail } = answer as { code: TidingsError['code']; detail: string }
  throw new TidingsError(code, detail)
}

/** Everything that is there, partition by partition, when everything has happened that can without time passing. */
export async function readTopic<T>(bed: Testbed, topic: string): Promise<TestMessage<T>[]> {
  await bed.time.settle()
  checkName('topic', topic)
  const messages: TestMessage<T>[] = []
  // Nothing was published to a topic that is not there.
  if (!bed.host.topics().some(({ name }) => name === topic)) return messages
  for (const { number, startOffset, highWatermark } of bed.host.topic(topic).partitions) {
    for (let offset = startOffset; offset < highWatermark; ) {
      const path = `/v1/topics/${encodeURIComponent(topic)}/partitions/${number}/messages`
      const page = await ask(bed, 'GET', `${path}?offset=${offset}&limit=${LIMITS.readCount}`)
      const { messages: read, nextOffset } = page as { messages: MessageJson[]; nextOffset: number }
      messages.push(...read.map((message) => testMessage<T>(message)))
      if (nextOffset === offset) break
      offset = nextOffset
    }
  }
  return messages
}
