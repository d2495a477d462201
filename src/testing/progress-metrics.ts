/**
 * The broker's metrics as a test needs them: nobody scrapes them, but whoever waits for a subscription is told when
 * something became of a message.
 */
import { TidingsError } from '@tidings/sdk/protocol'
import { nullMetrics } from '../base/telemetry.ts'
import type { ServerMetrics } from '../server/metrics.ts'

const ignore = (): void => undefined

/** `progress` is called for everything that may end a wait. */
export function progressMetrics(progress: () => void): ServerMetrics {
  return {
    ...nullMetrics,
    acknowledged: progress,
    filtered: progress,
    returned: progress,
    deadLettered: progress,
    parkingFull: progress,
    published: ignore,
    consumerJoined: ignore,
    consumerLeft: progress,
    segmentServed: ignore,
    segmentRead: ignore,
    readerJoined: ignore,
    readerLeft: ignore,
    connected: ignore,
    disconnected: ignore,
    contentType: 'text/plain',
    expose: () => Promise.reject(new TidingsError('not_found', 'the test broker keeps no metrics')),
    close: ignore,
  }
}
