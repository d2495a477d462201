/**
 * The Metrics port bound to Prometheus. Parts count into plain numbers here; the exposition is made
 * when somebody asks for it, so that counting costs an addition. Labels are bounded: so many
 * subscriptions by name, the rest together under "other". Owns the process's one event-loop delay
 * monitor.
 */
import { type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks'
import type * as Prom from 'prom-client'
import { required } from '../base/on-demand.ts'
import type { Metrics } from '../base/telemetry.ts'
import type { Host } from '../cluster/host.ts'

const { Counter, Gauge, Histogram, Registry } = required<typeof Prom>('prom-client')
type Gauge<T extends string = string> = Prom.Gauge<T>
type Histogram = Prom.Histogram

/** Subscriptions that are shown by name. */
const NAMED_SUBSCRIPTIONS = 500
const OTHER = 'other'

/** What the server itself counts, beside the port. */
export interface ServerMetrics extends Metrics {
  /** A publish request was answered: `ok` or an error's code. */
  published(code: string): void
  consumerJoined(): void
  consumerLeft(): void
  /** A request for a segment's bytes was answered; so many of them were read. */
  segmentServed(status: number): void
  segmentRead(bytes: number): void
  /** A reader of server-sent events came, went. */
  readerJoined(): void
  readerLeft(): void
  /** A TCP connection was opened, was closed. */
  connected(): void
  disconnected(): void
  /** The exposition, with the gauges of what the host serves at this moment. */
  expose(host: Host): Promise<string>
  readonly contentType: string
  /** Stops the event-loop monitor. */
  close(): void
}

class Prometheus implements ServerMetrics {
  readonly #registry = new Registry()
  readonly #loop: IntervalHistogram
  readonly #published = new Map<string, number>()
  readonly #returned = new Map<string, number>()
  readonly #segments = new Map<string, number>()
  #segmentBytes = 0
  #records = 0
  #bytes = 0
  #delivered = 0
  #redelivered = 0
  #acknowledged = 0
  #deadLettered = 0
  #fired = 0
  #filtered = 0
  #parkingFull = 0
  #consumers = 0
  #readers = 0
  #connections = 0
  readonly #syncs: Histogram
  readonly #backlog: Gauge<'topic' | 'subscription'>
  readonly #unacked: Gauge<'topic' | 'subscription'>
  readonly #topics: Gauge
  readonly #scheduled: Gauge
  readonly #storedBytes: Gauge

  constructor() {
    this.#loop = monitorEventLoopDelay({ resolution: 10 })
    this.#loop.enable()
    const registers = [this.#registry]
    this.#syncs = new Histogram({
      name: 'tidings_fsync_seconds',
      help: 'Time of one group commit: its write and its sync',
      buckets: [0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5],
      registers,
    })
    this.#counters()
    this.#gauges()
    const labelNames = ['topic', 'subscription'] as const
    this.#backlog = new Gauge({
      name: 'tidings_subscription_backlog',
      help: 'Messages not acknowledged, outstanding deliveries included',
      labelNames,
      registers,
    })
    this.#unacked = new Gauge({
      name: 'tidings_subscription_unacked',
      help: 'Deliveries that wait for their acknowledgement',
      labelNames,
      registers,
    })
    this.#topics = new Gauge({ name: 'tidings_topics', help: 'Topics', registers })
    this.#scheduled = new Gauge({
      name: 'tidings_scheduled_messages',
      help: 'Scheduled messages that are still to come',
      registers,
    })
    this.#storedBytes = new Gauge({ name: 'tidings_stored_bytes', help: 'Bytes of all partitions', registers })
  }

  get contentType(): string {
    return this.#registry.contentType
  }

  synced(ms: number, _bytes: number): void {
    this.#syncs.observe(ms / 1000)
  }

  appended(records: number, bytes: number): void {
    this.#records += records
    this.#bytes += bytes
  }

  delivered(messages: number, redelivered: number): void {
    this.#delivered += messages
    this.#redelivered += redelivered
  }

  acknowledged(messages: number): void {
    this.#acknowledged += messages
  }

  filtered(messages: number): void {
    this.#filtered += messages
  }

  returned(reason: 'nack' | 'expired' | 'disconnected' | 'released' | 'rejected', messages: number): void {
    this.#returned.set(reason, (this.#returned.get(reason) ?? 0) + messages)
  }

  deadLettered(messages: number): void {
    this.#deadLettered += messages
  }

  fired(messages: number): void {
    this.#fired += messages
  }

  parkingFull(): void {
    this.#parkingFull++
  }

  published(code: string): void {
    this.#published.set(code, (this.#published.get(code) ?? 0) + 1)
  }

  segmentServed(status: number): void {
    this.#segments.set(String(status), (this.#segments.get(String(status)) ?? 0) + 1)
  }

  segmentRead(bytes: number): void {
    this.#segmentBytes += bytes
  }

  consumerJoined(): void {
    this.#consumers++
  }

  consumerLeft(): void {
    this.#consumers--
  }

  readerJoined(): void {
    this.#readers++
  }

  readerLeft(): void {
    this.#readers--
  }

  connected(): void {
    this.#connections++
  }

  disconnected(): void {
    this.#connections--
  }

  expose(host: Host): Promise<string> {
    this.#measure(host)
    return this.#registry.metrics()
  }

  close(): void {
    this.#loop.disable()
  }

  #counters(): void {
    this.#labelled('tidings_publish_requests_total', 'Publish requests answered, by result', 'code', this.#published)
    this.#labelled('tidings_returned_total', 'Deliveries that came back, by reason', 'reason', this.#returned)
    this.#labelled('tidings_segment_requests_total', 'Requests for the bytes of a segment', 'status', this.#segments)
    this.#counter('tidings_segment_bytes_total', 'Bytes of segments read for such requests', () => this.#segmentBytes)
    this.#counter('tidings_appended_messages_total', 'Messages written to partitions', () => this.#records)
    this.#counter('tidings_appended_bytes_total', 'Bytes written to partitions', () => this.#bytes)
    this.#counter('tidings_delivered_total', 'Messages handed to consumers', () => this.#delivered)
    this.#counter('tidings_redelivered_total', 'Of those, with an attempt above 1', () => this.#redelivered)
    this.#counter('tidings_acknowledged_total', 'Messages acknowledged', () => this.#acknowledged)
    this.#counter('tidings_dead_lettered_total', 'Messages given up on', () => this.#deadLettered)
    this.#counter('tidings_scheduled_fired_total', 'Scheduled messages that were published when due', () => this.#fired)
    this.#counter('tidings_filtered_total', 'Messages that a filter kept from delivery', () => this.#filtered)
    this.#counter('tidings_parking_full_total', 'Parked keys that fell back to dead letters', () => this.#parkingFull)
  }

  #gauges(): void {
    const registers = [this.#registry]
    new Gauge({
      name: 'tidings_consumers',
      help: 'Connected consumers',
      registers,
      collect: setter(() => this.#consumers),
    })
    new Gauge({
      name: 'tidings_event_readers',
      help: 'Open streams of server-sent events',
      registers,
      collect: setter(() => this.#readers),
    })
    new Gauge({
      name: 'tidings_connections',
      help: 'Open connections, consumers among them',
      registers,
      collect: setter(() => this.#connections),
    })
    const loop = this.#loop
    new Gauge({
      name: 'tidings_event_loop_delay_seconds',
      help: 'Delay of the event loop since the last scrape',
      labelNames: ['quantile'],
      registers,
      collect() {
        for (const percent of [50, 99, 100]) {
          const ns = loop.percentile(percent)
          this.set({ quantile: String(percent / 100) }, Number.isFinite(ns) ? ns / 1e9 : 0)
        }
        loop.reset()
      },
    })
  }

  #counter(name: string, help: string, read: () => number): void {
    const registers = [this.#registry]
    new Counter({
      name,
      help,
      registers,
      collect() {
        this.reset()
        this.inc(read())
      },
    })
  }

  #labelled(name: string, help: string, label: string, values: ReadonlyMap<string, number>): void {
    const registers = [this.#registry]
    new Counter({
      name,
      help,
      labelNames: [label],
      registers,
      collect() {
        this.reset()
        for (const [value, count] of values) this.inc({ [label]: value }, count)
      },
    })
  }

  #measure(host: Host): void {
    this.#backlog.reset()
    this.#unacked.reset()
    const topics = host.topics()
    this.#topics.set(topics.length)
    let bytes = 0
    let named = 0
    this.#scheduled.set(topics.reduce((sum, topic) => sum + topic.scheduledCount, 0))
    for (const topic of topics) {
      for (const partition of topic.partitions) bytes += partition.bytes
      for (const subscription of host.subscriptions(topic.name)) {
        const { backlog, unacked } = subscription.state()
        const labels =
          named++ < NAMED_SUBSCRIPTIONS
            ? { topic: topic.name, subscription: subscription.name }
            : { topic: OTHER, subscription: OTHER }
        this.#backlog.inc(labels, backlog)
        this.#unacked.inc(labels, unacked)
      }
    }
    this.#storedBytes.set(bytes)
  }
}

function setter(read: () => number): (this: Gauge) => void {
  return function collect() {
    this.set(read())
  }
}

export function createMetrics(): ServerMetrics {
  return new Prometheus()
}
