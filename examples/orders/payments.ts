/** Charges every order and publishes the payment. Start several: they share the work, each order's in one place. */
import { createClient } from '@tidings/sdk'
import { BROKER, orders, payments } from './topics.ts'

const client = createClient({ url: BROKER })
const paid = client.topic(payments)

client
  .topic(orders)
  .subscribe('payments', { type: 'key_shared', start: 'earliest', concurrency: 8 }, async ({ value: order }) => {
    await paid.publish(
      { order: order.id, email: order.email, amount: order.total, paidAt: new Date().toISOString() },
      // Should this process die before the order is acknowledged, the payment is not published twice.
      { key: order.id, idempotencyKey: `payment-${order.id}` },
    )
    console.log(`${order.id} is paid: ${order.total}`)
  })

process.once('SIGTERM', () => void client.close())
