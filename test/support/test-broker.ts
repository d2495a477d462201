/** A broker on a free loopback port inside the test's process, and the few calls that every API test makes. */
import { systemClock } from '../../src/base/clock.ts'
import { nullLogger } from '../../src/base/telemetry.ts'
import { SETTINGS } from '../../src/config.ts'
import { Server, type ServerOptions } from '../../src/server/app.ts'
import { createMetrics } from '../../src/server/metrics.ts'
import { FakeHost } from './fake-host.ts'

export interface TestBroker {
  url: string
  port: number
  server: Server
  drain(): Promise<void>
  close(): Promise<void>
}

const defaults = Object.fromEntries(
  Object.entries(SETTINGS).map(([name, setting]) => [name, setting.default]),
) as unknown as ServerOptions

export async function startTestBroker(
  options: Partial<ServerOptions> & { autoCreateTopics?: boolean } = {},
): Promise<TestBroker> {
  const host = new FakeHost()
  host.autoCreate = options.autoCreateTopics ?? true
  const metrics = createMetrics()
  const server = new Server({
    host: host.asHost,
    clock: systemClock,
    logger: nullLogger,
    metrics,
    options: { ...defaults, drainMs: 1000, ...options, port: 0 },
    version: '0.0.0-test',
  })
  const { url, port } = await server.listen()
  return {
    url,
    port,
    server,
    drain: () => server.drain(),
    async close() {
      await server.drain()
      metrics.close()
    },
  }
}

export interface Answer {
  status: number
  headers: Headers
  text: string
  json: unknown
}

/** One request; a body that is no string or bytes is sent as JSON. */
export async function call(
  broker: TestBroker,
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const isRaw = typeof body === 'string' || body instanceof Uint8Array || body === undefined
  const init: RequestInit = { method, headers: isRaw ? headers : { 'content-type': 'application/json', ...headers } }
  if (body !== undefined) init.body = isRaw ? (body as string) : JSON.stringify(body)
  const response = await fetch(`${broker.url}${path}`, init)
  const text = await response.text()
  const isJson = /json/.test(response.headers.get('content-type') ?? '') && text !== ''
  return { status: response.status, headers: response.headers, text, json: isJson ? JSON.parse(text) : undefined }
}
