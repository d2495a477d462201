/** What the services agree on: their topics, and what the messages of each are. */
import { defineTopic } from '@tidings/sdk'
import { z } from 'zod'

export const BROKER = process.env['TIDINGS_URL'] ?? 'http://127.0.0.1:7070'

export const orders = defineTopic({
  name: 'shop.orders',
  schema: z.object({ id: z.string(), email: z.email(), total: z.number().positive() }),
})

export const payments = defineTopic({
  name: 'shop.payments',
  schema: z.object({
    order: z.string(),
    email: z.email(),
    amount: z.number(),
    // A text on the way, a Date for whoever subscribes.
    paidAt: z.iso.datetime().transform((text) => new Date(text)),
  }),
})
