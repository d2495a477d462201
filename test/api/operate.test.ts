import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openApiDocument } from '../../src/server/openapi.ts'
import { StreamClient } from '../support/stream-client.ts'
import { call, startTestBroker, type TestBroker } from '../support/test-broker.ts'

let broker: TestBroker
beforeAll(async () => {
  broker = await startTestBroker()
})
afterAll(() => broker.stop())

describe('operations', () => {
  it('say that the broker lives and is ready', async () => {
    expect(await call(broker, 'GET', '/healthz')).toMatchObject({ status: 200, json: { status: 'ok' } })
    expect(await call(broker, 'GET', '/readyz')).toMatchObject({ status: 200, json: { status: 'ready' } })
    expect((await call(broker, 'HEAD', '/healthz')).status).toBe(200)
  })

  it('expose metrics with what has happened', async () => {
    await call(broker, 'POST', '/v1/topics/metered/messages', 'x')
    await call(broker, 'POST', '/v1/topics/metered/messages', 'x', { 'tidings-partition': '7' })
    await call(broker, 'PUT', '/v1/topics/metered/subscriptions/s', { start: 'earliest' })
    const client = await StreamClient.open(broker, 'metered', 'watching')
    const { status, headers, text } = await call(broker, 'GET', '/metrics')
    expect(status).toBe(200)
    expect(headers.get('content-type')).toMatch(/^text\/plain/)
    expect(text).toContain('tidings_publish_requests_total{code="ok"} 1')
    expect(text).toContain('tidings_publish_requests_total{code="partition_not_found"} 1')
    expect(text).toContain('tidings_subscription_backlog{topic="metered",subscription="s"} 1')
    expect(text).toContain('tidings_consumers 1')
    expect(text).toMatch(/tidings_connections [1-9]/)
    expect(text).toMatch(/tidings_event_loop_delay_seconds\{quantile="0\.99"\} \d/)
    expect(text).toMatch(/tidings_fsync_seconds_count \d/)
    await client.end()
  })

  it('show the cluster', async () => {
    await call(broker, 'PUT', '/v1/topics/shown', { partitions: 2 })
    const { json } = await call(broker, 'GET', '/v1/cluster')
    const node = (json as { nodes: { id: string }[] }).nodes[0]!.id
    expect(json).toMatchObject({
      nodes: [{ id: node, epoch: expect.any(Number), startedAt: expect.stringMatching(/Z$/) }],
    })
    const { partitions } = json as { partitions: { topic: string }[] }
    expect(partitions.filter(({ topic }) => topic === 'shown')).toMatchObject(
      [0, 1].map((partition) => ({ partition, leader: node, isr: [node] })),
    )
  })
})

describe('an unknown route', () => {
  it('is not_found', async () => {
    for (const path of ['/', '/v1', '/v1/topics/a/b', '/v2/topics']) {
      expect(await call(broker, 'GET', path)).toMatchObject({
        status: 404,
        json: { code: 'not_found', status: 404, title: expect.any(String), type: expect.any(String) },
      })
    }
    expect(await call(broker, 'POST', '/nowhere', '{}', { 'content-type': 'text/plain' })).toMatchObject({
      status: 404,
    })
  })

  it('is method_not_allowed where the path is known', async () => {
    const answer = await call(broker, 'PATCH', '/v1/topics/a', {})
    expect(answer).toMatchObject({ status: 405, json: { code: 'method_not_allowed' } })
    expect(answer.headers.get('allow')).toBe('DELETE, GET, HEAD, PUT')
    expect(await call(broker, 'GET', '/v1/topics/a/messages')).toMatchObject({ status: 405 })
    expect(await call(broker, 'DELETE', '/healthz')).toMatchObject({ status: 405 })
    expect(await call(broker, 'OPTIONS', '/v1/topics')).toMatchObject({ status: 405 })
  })
})

describe('the description', () => {
  it('lists every route, and no other', async () => {
    const { json, status } = await call(broker, 'GET', '/openapi.json')
    expect(status).toBe(200)
    const { paths, openapi } = json as { openapi: string; paths: Record<string, Record<string, unknown>> }
    expect(openapi).toBe('3.1.0')
    const described = Object.entries(paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    )
    expect(described.sort()).toEqual(broker.server.routes.list().filter((route) => !route.startsWith('HEAD ')))
  })

  it('refers to nothing that is not there', () => {
    const document = openApiDocument('1') as { components: { schemas: object } }
    const names = [...JSON.stringify(document).matchAll(/#\/components\/schemas\/(\w+)/g)].map(([, name]) => name!)
    expect(names.length).toBeGreaterThan(20)
    for (const name of names) expect(Object.keys(document.components.schemas)).toContain(name)
  })

  it('is the one in docs/openapi.json (vitest -u writes it anew)', async () => {
    const text = `${JSON.stringify(openApiDocument('v1'), null, 2)}\n`
    await expect(text).toMatchFileSnapshot('../../docs/openapi.json')
  })

  it('can be read as a page that loads nothing from elsewhere', async () => {
    const { status, headers, text } = await call(broker, 'GET', '/docs')
    expect(status).toBe(200)
    expect(headers.get('content-type')).toMatch(/^text\/html/)
    expect(headers.get('content-security-policy')).toContain("default-src 'none'")
    expect(text).not.toMatch(/https?:\/\//)
  })
})
