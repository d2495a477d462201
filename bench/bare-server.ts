/**
 * What single publishes are held against: a bare fastify route that takes the same body and answers the same JSON,
 * and stores nothing. A process of its own; prints its port when it listens.
 */
import fastify from 'fastify'

const app = fastify()
app.removeAllContentTypeParsers()
app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body))

let offset = 0
app.post<{ Params: { topic: string } }>('/v1/topics/:topic/messages', async (request) => {
  const { topic } = request.params
  const position = offset++
  return { topic, partition: 0, offset: position, id: `0:${position}`, timestamp: new Date().toISOString() }
})

await app.listen({ host: '127.0.0.1', port: 0 })
const address = app.server.address()
process.send?.(typeof address === 'object' ? address?.port : undefined)
process.once('disconnect', () => process.exit(0))
