/** Takes three orders and ends. Run it again: their ids are idempotency keys, so nothing is ordered twice. */
import { createClient, TidingsError } from '@tidings/sdk'
import { BROKER, orders } from './topics.ts'

const client = createClient({ url: BROKER })
const shop = client.topic(orders)

const basket = [
  { id: 'a-1', email: 'ada@example.org', total: 30 },
  { id: 'a-2', email: 'nobody@bounces.example.org', total: 12.5 },
  { id: 'a-3', email: 'grace@example.org', total: 7 },
]
for (const order of basket) {
  const receipt = await shop.publish(order, { key: order.id, idempotencyKey: order.id })
  console.log(`${order.id} is ${receipt.duplicate ? 'already ' : ''}stored as ${receipt.id}`)
}

// The schema is checked before anything is sent.
await shop.publish({ id: 'a-4', email: 'ada@example.org', total: -1 }).catch((error: unknown) => {
  if (TidingsError.is(error)) console.log(`a-4 is refused: ${error.code} at ${error.message}`)
})
await client.close()
