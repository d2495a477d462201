/** A Fastify app with one client for its life: a route that publishes, a consumer that counts, a request that is answered. */
import { createClient, defineTopic, TidingsError } from '@tidings/sdk'
import Fastify from 'fastify'
import { z } from 'zod'

const Visit = defineTopic({ name: 'visits', schema: z.object({ page: z.string(), seconds: z.number().min(0) }) })

const app = Fastify()
const client = createClient({ url: process.env['TIDINGS_URL'] ?? 'http://127.0.0.1:7070' })
const visits = client.topic(Visit)
const counts = new Map<string, number>()

app.post<{ Body: { page: string; seconds: number } }>('/visits', async ({ body }, reply) => {
  const receipt = await visits.publish(body, { key: body.page })
  return reply.code(201).send(receipt)
})
app.get('/counts', () => Object.fromEntries(counts))

// Errors have a status and a code for this.
app.setErrorHandler((error, _, reply) => {
  if (!TidingsError.is(error)) return reply.send(error)
  return reply.code(error.status).send({ code: error.code, detail: error.message })
})

app.addHook('onReady', async () => {
  visits.subscribe('counter', { start: 'earliest' }, ({ value: { page } }) => {
    counts.set(page, (counts.get(page) ?? 0) + 1)
  })
})
// After the last request: finishes handlers, hands back what was not begun.
app.addHook('onClose', () => client.close())

await app.listen({ port: Number(process.env['PORT'] ?? 3000), host: '127.0.0.1' })
process.once('SIGTERM', () => void app.close())
