/**
 * The end of a run against a broker process: waits until every subscription has nothing left, writes down what
 * the broker says of itself and what its partitions hold, and gives the checker's verdict.
 */
import { callOk, eventually } from './admin-client.ts'
import type { History } from './history.ts'
import { hashOf } from './history.ts'
import { check } from './history-checker.ts'
import type { Facts, Verdict } from './history-verdict.ts'
import type { DeliveredFrame } from './recording-consumer.ts'

/** Messages of recording publishers carry their name as header `n`. */
export function identify(message: Pick<DeliveredFrame, 'headers' | 'value'>): { value: string; hash: string } {
  return { value: message.headers['n'] ?? 'unnamed', hash: hashOf(JSON.stringify(message.value)) }
}

export interface DrainedRun {
  url: string
  topic: string
  history: History
  facts: Omit<Facts, 'drained'>
  timeoutMs?: number
}

export async function judgeDrained({ url, topic, history, facts, timeoutMs = 60_000 }: DrainedRun): Promise<Verdict> {
  for (const { name } of facts.subscriptions) {
    const path = `${url}/v1/topics/${topic}/subscriptions/${name}`
    const left = async (): Promise<number> => (await callOk('GET', path)).state.backlog as number
    const backlog = await eventually(`${name} is drained`, left, (count) => count === 0, timeoutMs)
    history.record({ op: 'backlog', sub: name, backlog })
  }
  await recordEnds(url, topic, history)
  await recordLog(url, topic, history)
  return check(history.events, { ...facts, drained: true })
}

export async function recordEnds(url: string, topic: string, history: History): Promise<void> {
  const id = history.nextId()
  history.record({ op: 'hw', ph: 'inv', id })
  const { partitionStates } = await callOk('GET', `${url}/v1/topics/${topic}`)
  for (const { partition, highWatermark } of partitionStates as { partition: number; highWatermark: number }[]) {
    history.record({ op: 'hw', ph: 'ok', id, partition, end: highWatermark })
  }
}

/** Reads every partition from its beginning to its end, without a subscription. */
export async function recordLog(url: string, topic: string, history: History): Promise<void> {
  const { partitionStates } = await callOk('GET', `${url}/v1/topics/${topic}`)
  for (const { partition } of partitionStates as { partition: number }[]) {
    for (let offset = 0, end = false; !end; ) {
      const page = await callOk(
        'GET',
        `${url}/v1/topics/${topic}/partitions/${partition}/messages?offset=${offset}&limit=1000`,
      )
      for (const message of page.messages as DeliveredFrame[]) {
        history.record({ op: 'read', partition, offset: message.offset, ...identify(message) })
      }
      end = page.messages.length === 0
      offset = page.nextOffset
    }
  }
}
