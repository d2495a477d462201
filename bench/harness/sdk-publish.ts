/**
 * Publishes through the client, so many at a time, each awaited by itself and followed by the next: the rate, how long
 * each took, and what the client's process spent on one.
 */
import { createClient } from '@tidings/sdk'
import type { Figures } from '../client.ts'
import { Latencies } from './latency.ts'

export interface SdkPublishJob {
  kind: 'sdkPublish'
  url: string
  topic: string
  atOnce: number
  valueBytes: number
  seconds: number
}

export async function sdkPublish(job: SdkPublishJob, warmUpMs: number): Promise<Figures> {
  const client = createClient({ url: job.url })
  const topic = client.topic<Uint8Array>(job.topic)
  const value = new Uint8Array(job.valueBytes).fill(120)
  const latencies = new Latencies()
  const measureAt = performance.now() + warmUpMs
  const endsAt = measureAt + job.seconds * 1000
  let answered = 0
  let cpu: NodeJS.CpuUsage | undefined
  const publisher = async (): Promise<void> => {
    for (let sentAt = performance.now(); sentAt < endsAt; ) {
      await topic.publish(value)
      const now = performance.now()
      if (now >= measureAt) {
        cpu ??= process.cpuUsage()
        answered++
        latencies.add(now - sentAt)
      }
      sentAt = now
    }
  }
  await Promise.all(Array.from({ length: job.atOnce }, publisher))
  const { user, system } = process.cpuUsage(cpu)
  await client.close()
  const { p50Ms, p99Ms } = latencies.summary()
  return { messagesPerSecond: answered / job.seconds, p50Ms, p99Ms, clientUsPerMessage: (user + system) / answered }
}
