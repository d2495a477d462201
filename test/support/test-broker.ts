/**
 * A whole broker inside the test's process: real disk in a temporary directory, real clock, real sockets on a
 * free loopback port; only the coordinator is in memory. And the one call that every API test makes.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Clock, systemClock, systemRandom } from '../../src/base/clock.ts'
import { Latch } from '../../src/base/latch.ts'
import { nodeDisk } from '../../src/base/node-disk.ts'
import { nullLogger } from '../../src/base/telemetry.ts'
import { Broker, type BrokerOptions } from '../../src/broker.ts'
import { MemoryCoordinator } from '../../src/cluster/memory-coordinator.ts'
import type { Routing } from '../../src/cluster/routing.ts'
import { resolveConfig } from '../../src/config.ts'
import type { Server } from '../../src/server/app.ts'
import { createMetrics } from '../../src/server/metrics.ts'

export interface TestBroker {
  url: string
  port: number
  server: Server
  /** Ends as a SIGTERM would. */
  stop(): Promise<void>
}

/** `clock`: the system's, where the test does not drive one. */
export async function startTestBroker(
  options: Partial<BrokerOptions> = {},
  clock: Clock = systemClock,
  routing?: Routing,
): Promise<TestBroker> {
  const directory = await mkdtemp(join(tmpdir(), 'tidings-api-'))
  const ports = { clock, random: systemRandom }
  const latch = new Latch((cause) => {
    throw cause
  })
  const broker = await Broker.create(
    {
      ...ports,
      disk: nodeDisk(directory),
      logger: nullLogger,
      metrics: createMetrics(),
      latch,
      coordinator: new MemoryCoordinator(ports),
      coordinatorIsNew: true,
      ...(routing && { routing }),
    },
    {
      ...resolveConfig({ flags: new Map(), env: {}, file: { drainMs: 1000, reserveBytes: 0 } }),
      version: '0.0.0-test',
      ...options,
      port: 0,
    },
  )
  const { url } = await broker.start()
  let stopped: Promise<void> | undefined
  const stop = async (): Promise<void> => {
    await broker.stop()
    await rm(directory, { recursive: true, force: true })
  }
  return { url, port: Number(new URL(url).port), server: broker.server, stop: () => (stopped ??= stop()) }
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
