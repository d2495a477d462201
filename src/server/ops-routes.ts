/** What operators and their tools ask: liveness, readiness, metrics, the cluster, the API's own description. */

import { formatTimestamp } from '@tidings/sdk/protocol'
import type { FastifyInstance } from 'fastify'
import type { Host } from '../cluster/host.ts'
import type { ServerMetrics } from './metrics.ts'

export interface OpsParts {
  host: Host
  metrics: ServerMetrics
  version: string
  isDraining(): boolean
}

export function opsRoutes(app: FastifyInstance, parts: OpsParts): void {
  const { host, metrics } = parts
  app.get('/healthz', async () => ({ status: 'ok' }))

  app.get('/readyz', async (_request, reply) => {
    const reason = parts.isDraining() ? 'draining' : host.notReady()
    if (reason === null) return { status: 'ready' }
    return reply.code(503).send({ status: 'not_ready', reason })
  })

  app.get('/metrics', async (_request, reply) => reply.type(metrics.contentType).send(await metrics.expose(host)))

  app.get('/v1/cluster', async () => clusterJson(host))

  // Loaded and made when somebody asks.
  let document: string | undefined
  app.get('/openapi.json', async (_request, reply) => {
    const { openApiDocument } = await import('./openapi.ts')
    document ??= JSON.stringify(openApiDocument(parts.version))
    return reply.type('application/json; charset=utf-8').send(document)
  })

  app.get('/docs', async (_request, reply) => {
    const { docsPage } = await import('./docs-page.ts')
    return reply
      .type('text/html; charset=utf-8')
      .header(
        'content-security-policy',
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'",
      )
      .send(docsPage())
  })
}

function clusterJson({ facts }: Host): object {
  return {
    nodes: facts.nodes().map((node) => ({ ...node, startedAt: formatTimestamp(node.startedAt) })),
    partitions: facts.topics().flatMap(({ name, settings, copies }) => {
      const { leader, epoch, replicas, isr } = copies
      return Array.from({ length: settings.partitions }, (_, partition) => {
        return { topic: name, partition, leader, epoch, replicas, isr }
      })
    }),
  }
}
