/** Writes a mail for every payment. What cannot be delivered is tried three times, then it is a dead letter. */
import { createClient } from '@tidings/sdk'
import { BROKER, payments } from './topics.ts'

await fetch(`${BROKER}/v1/topics/${payments.name}/subscriptions/email`, {
  method: 'PUT',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify({
    start: 'earliest',
    backoff: { minMs: 100, maxMs: 1000 },
    deadLetter: { topic: 'shop.undeliverable', maxDeliveries: 3 },
  }),
})

const client = createClient({ url: BROKER })
client.topic(payments).subscribe('email', { concurrency: 4 }, async ({ value: payment, attempt }) => {
  if (payment.email.endsWith('@bounces.example.org')) throw new Error(`mailbox unavailable, attempt ${attempt}`)
  console.log(`mail to ${payment.email}: ${payment.amount} paid in ${payment.paidAt.getFullYear()}`)
})

// Dead letters are a topic like any other.
client.topic<{ order: string }>('shop.undeliverable').subscribe('postmaster', { start: 'earliest' }, (letter) => {
  console.log(`given up on ${letter.value.order}: ${letter.headers['tidings-reason']}`)
})

process.once('SIGTERM', () => void client.close())
