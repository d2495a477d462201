/**
 * `npm run demo`: a broker under kill -9, on real input, counted. Publishes everything as NDJSON batches while two
 * subscriptions with two consumers each (processes of their own) read along; kills one consumer and, in the middle of
 * publishing, the broker; then lets the history checker judge what all of them saw. Exits with 1 when
 * anything was lost or wrong.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { callOk } from '../test/support/admin-client.ts'
import { BrokerProcess, ROOT, stopAll, temporaryDirectory } from '../test/support/broker-process.ts'
import { judgeDrained } from '../test/support/drained-run.ts'
import { History, type HistoryEvent, loadHistory, machineTime, mergeHistories } from '../test/support/history.ts'
import { check } from '../test/support/history-checker.ts'
import type { Facts, Verdict } from '../test/support/history-verdict.ts'
import { realEvents } from '../test/support/real-events.ts'
import { type Entry, RecordingPublisher } from '../test/support/recording-publisher.ts'
import type { ConsumerPart, Progress } from './demo-consumer.ts'

const TOPIC = 'commits'
const SUBSCRIPTIONS = ['index', 'audit']
const BATCH = 200
const PUBLISHERS = 4
const ACK_DEADLINE_MS = 30_000
const TIME_LIMIT_MS = 300_000

const number = (value: number): string => Math.round(value).toLocaleString('en-US')
const seconds = (sinceMs: number): string => `${((machineTime() - sinceMs) / 1000).toFixed(1).padStart(5)} s`
const beganAt = machineTime()
const say = (text: string): void => console.log(`${seconds(beganAt)}  ${text}`)

class Consumer {
  readonly name: string
  readonly historyFile: string
  progress: Progress = { received: 0, confirmed: 0, complaints: [] }
  killedAt: number | undefined
  readonly #child: ChildProcess

  constructor(part: ConsumerPart) {
    this.name = part.name
    this.historyFile = part.historyFile
    this.#child = fork(join(import.meta.dirname, 'demo-consumer.js'), [JSON.stringify(part)])
    this.#child.on('message', (progress) => {
      this.progress = progress as Progress
    })
  }

  kill(): void {
    this.killedAt = machineTime()
    this.#child.kill('SIGKILL')
  }

  async stop(): Promise<void> {
    if (this.killedAt !== undefined || this.#child.exitCode !== null) return
    const exited = once(this.#child, 'exit')
    this.#child.send('stop')
    await exited
  }

  /** What it saw; where it was killed, with the end of its last connection added. */
  events(): HistoryEvent[] {
    const events = loadHistory(this.historyFile)
    const last = events.findLast((event) => event.op === 'open')
    if (this.killedAt === undefined || last?.op !== 'open') return events
    const { sub, session, consumer } = last
    return [...events, { t: this.killedAt, op: 'close', sub, session, consumer }]
  }
}

function startConsumers(broker: BrokerProcess): Consumer[] {
  const folder = temporaryDirectory()
  return SUBSCRIPTIONS.flatMap((subscription) =>
    [1, 2].map((n) => {
      const name = `${subscription}-${n}`
      const firstId = (SUBSCRIPTIONS.indexOf(subscription) * 2 + n) * 1_000_000_000
      const historyFile = join(folder, `${name}.jsonl`)
      return new Consumer({ url: broker.webSocketUrl, topic: TOPIC, subscription, name, historyFile, firstId })
    }),
  )
}

/** Several batches under way at once; `answered` after each. */
async function publishAll(
  publisher: RecordingPublisher,
  entries: readonly Entry[],
  answered: (count: number) => void,
): Promise<void> {
  let next = 0
  const loop = async (): Promise<void> => {
    while (next < entries.length) {
      const batch = entries.slice(next, next + BATCH)
      next += batch.length
      await publisher.publishBatch(batch)
      answered(batch.length)
    }
  }
  await Promise.all(Array.from({ length: PUBLISHERS }, loop))
}

async function main(): Promise<boolean> {
  const { from, entries } = realEvents(ROOT)
  say(`${number(entries.length)} events from ${from}`)
  const broker = await BrokerProcess.start()
  say(`broker ${broker.url}, data in ${broker.dataDir}`)
  await callOk('PUT', `${broker.url}/v1/topics/${TOPIC}`, { partitions: 4 })
  for (const name of SUBSCRIPTIONS) {
    const settings = { type: 'shared', start: 'earliest', ackDeadlineMs: ACK_DEADLINE_MS }
    await callOk('PUT', `${broker.url}/v1/topics/${TOPIC}/subscriptions/${name}`, settings)
  }
  const consumers = startConsumers(broker)
  const history = new History(machineTime)
  const publisher = new RecordingPublisher(broker.url, TOPIC, history, PUBLISHERS)
  const sum = (of: (progress: Progress) => number): number =>
    consumers.reduce((total, { progress }) => total + of(progress), 0)
  let published = 0
  const progress = setInterval(() => {
    const [received, confirmed] = [sum((p) => p.received), sum((p) => p.confirmed)]
    say(`published ${number(published)}, delivered ${number(received)}, acknowledged ${number(confirmed)}`)
  }, 1000)

  let disturbed: Promise<void> = Promise.resolve()
  const publishingAt = machineTime()
  await publishAll(publisher, entries, (count) => {
    const before = published / entries.length
    published += count
    const after = published / entries.length
    if (before < 0.3 && after >= 0.3) {
      say(`kill -9 of consumer ${consumers[0]!.name}`)
      consumers[0]!.kill()
    }
    if (before < 0.5 && after >= 0.5) disturbed = killAndRestart(broker, history)
  })
  const publishedMs = machineTime() - publishingAt
  await disturbed
  say(`all published; ${number(publisher.repeated)} batches were sent again because no answer came`)

  const facts = {
    subscriptions: SUBSCRIPTIONS.map((name) => ({ name, ordered: false, ackDeadlineMs: ACK_DEADLINE_MS })),
    flightMs: 2000,
    minPublished: entries.length,
    faults: ['kill'],
  }
  // Waits for the subscriptions to be drained; the verdict comes from the merged histories below.
  await judgeDrained({ url: broker.url, topic: TOPIC, history, facts, timeoutMs: 120_000 })
  const drainedMs = machineTime() - publishingAt
  clearInterval(progress)
  await Promise.all(consumers.map((consumer) => consumer.stop()))
  await publisher.close()
  const exit = await broker.terminate()
  const events = mergeHistories([history.events, ...consumers.map((consumer) => consumer.events())])
  const verdict = check(events, { ...facts, drained: true } satisfies Facts)
  const left = new Map(events.flatMap((event) => (event.op === 'backlog' ? [[event.sub, event.backlog]] : [])))
  return report(verdict, left, publishedMs, drainedMs, exit.code)
}

async function killAndRestart(broker: BrokerProcess, history: History): Promise<void> {
  say('kill -9 of the broker, in the middle of publishing')
  history.record({ op: 'fault', kind: 'kill' })
  await broker.kill()
  const readyMs = await broker.restart()
  say(`the broker is ready again after ${number(readyMs)} ms`)
}

/** `left`: what the broker says is not acknowledged, per subscription. */
function report(
  verdict: Verdict,
  left: ReadonlyMap<string, number>,
  publishedMs: number,
  drainedMs: number,
  exitCode: number | null,
): boolean {
  const { anomalies, invalid, published } = verdict
  const row = (name: string, cell: (subscription: string) => string | number): void => {
    const cells = SUBSCRIPTIONS.map(cell).map((value) =>
      (typeof value === 'number' ? number(value) : value).padStart(12),
    )
    console.log(`  ${name.padEnd(14)}${cells.join('')}`)
  }
  const deliveries = SUBSCRIPTIONS.reduce((sum, name) => sum + (verdict.delivered[name] ?? 0), 0)
  console.log()
  row('', (name) => name)
  row('published', () => published)
  for (const what of ['delivered', 'redelivered', 'duplicates', 'confirmed', 'lost'] as const) {
    row(what, (name) => verdict[what][name] ?? 0)
  }
  row('acknowledged', (name) => published - (left.get(name) ?? published))
  console.log(`
  redelivered   attempt 2 or higher: these were in the hands of the consumer or the broker that was killed
  duplicates    of these, messages that some consumer had really got before
  confirmed     acknowledgements whose confirmation came back before the kill cut the line
  acknowledged  what the broker says in the end: nothing is left
  Every event is in the log ${anomalies.DUP_LOG ? 'NOT ' : ''}once, ${number(verdict.unanswered)} without an answer.
  Published ${number((published * 1000) / publishedMs)} messages/s with the outage; ${number((deliveries * 1000) / drainedMs)} deliveries/s until all was acknowledged.`)
  for (const [code, { count, samples }] of Object.entries(anomalies))
    console.log(`\n  ${code}: ${count}\n    ${samples.join('\n    ')}`)
  for (const reason of invalid) console.log(`\n  invalid: ${reason}`)
  if (exitCode !== 0) console.log(`\n  the broker ended with ${exitCode} on SIGTERM`)
  const good = Object.keys(anomalies).length === 0 && invalid.length === 0 && exitCode === 0
  console.log(good ? '\n  0 lost.' : '\n  FAILED.')
  return good
}

const limit = setTimeout(() => {
  console.log(`not done after ${TIME_LIMIT_MS / 1000} s`)
  process.exit(1)
}, TIME_LIMIT_MS)

async function run(): Promise<void> {
  let good = false
  try {
    good = await main()
  } catch (error) {
    console.log(error)
  }
  clearTimeout(limit)
  await stopAll()
  process.exit(good ? 0 : 1)
}

void run()
