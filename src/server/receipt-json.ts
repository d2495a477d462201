/** What a publish is answered: where each message lies, or when it will come. JSON made by hand for the hottest path. */
import { formatTimestamp } from '@tidings/sdk/protocol'
import { isScheduled, type PublishOutcome, type ScheduledReceipt } from '../partition/topic.ts'

export function receiptJson(topic: string, outcome: PublishOutcome): string {
  if (isScheduled(outcome)) return `{"topic":"${topic}",${scheduledJson(outcome)}}`
  const { partition, offset } = outcome
  return (
    `{"topic":"${topic}","partition":${partition},"offset":${offset},"id":"${partition}:${offset}",` +
    `"timestamp":"${formatTimestamp(outcome.timestamp)}"${outcome.duplicate ? ',"duplicate":true' : ''}}`
  )
}

/** With times only for those who ask: most have no use for them, and they would be half of the bytes. */
export function receiptsJson(outcomes: readonly PublishOutcome[], isTimed = false): string {
  let text = '{"receipts":['
  for (let i = 0; i < outcomes.length; i++) {
    const outcome = outcomes[i]!
    text += i === 0 ? '' : ','
    if (isScheduled(outcome)) {
      text += `{${scheduledJson(outcome)}}`
      continue
    }
    const { partition, offset, timestamp, duplicate } = outcome
    text +=
      `{"partition":${partition},"offset":${offset},"id":"${partition}:${offset}"` +
      `${isTimed ? `,"timestamp":"${formatTimestamp(timestamp)}"` : ''}${duplicate ? ',"duplicate":true}' : '}'}`
  }
  return `${text}]}`
}

function scheduledJson({ scheduled, duplicate }: ScheduledReceipt): string {
  const { id, deliverAt } = scheduled
  return `"scheduled":{"id":"${id}","deliverAt":"${formatTimestamp(deliverAt)}"}${duplicate ? ',"duplicate":true' : ''}`
}
