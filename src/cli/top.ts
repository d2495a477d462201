/** Looks at all topics and their subscriptions again and again, and shows what changed. */
import { matchesPattern } from '@tidings/sdk/protocol'
import type { Clock } from '../base/clock.ts'
import { type BrokerApi, topicPath } from './broker-api.ts'
import { type Context, EXIT } from './command.ts'
import type { SubscriptionJson } from './subscription.ts'
import { rowsOf, type Sample, topText } from './top-view.ts'
import type { TopicJson } from './topic.ts'

const INTERVAL_MS = 2000
/** With --once: as long as a rate needs to mean something. */
const ONCE_MS = 1000
const AT_ONCE = 8
/** To the upper left corner, and everything below it is wiped. */
const HOME = '\u001b[H\u001b[J'

export async function top({ call, api: broker, terminal, clock }: Context): Promise<number> {
  const api = broker()
  const pattern = call.text('topic')
  const isOnce = call.isOn('once')
  const intervalMs = call.number('interval') ?? (isOnce ? ONCE_MS : INTERVAL_MS)
  const look = async (): Promise<Sample> => ({ topics: await topicsOf(api, pattern), at: clock.monotonic() })
  let before = await look()
  const ended = terminal.ended()
  for (;;) {
    await pause(clock, intervalMs, ended)
    if (ended.aborted) return EXIT.done
    const now = await look()
    const topics = rowsOf(before, now)
    before = now
    const isLive = terminal.isInteractive && !isOnce && !call.isOn('json')
    const text = call.isOn('json')
      ? `${JSON.stringify({ at: new Date(clock.now()).toISOString(), topics })}\n`
      : topText(topics, terminal.width, isLive ? terminal.height : undefined)
    if (!(await terminal.print(isLive ? HOME + text : text)) || isOnce) return EXIT.done
  }
}

async function topicsOf(api: BrokerApi, pattern: string | undefined): Promise<Sample['topics']> {
  const { topics } = await api.get<{ topics: { name: string }[] }>('/v1/topics')
  const names = topics
    .map(({ name }) => name)
    .filter((name) => pattern === undefined || name === pattern || matchesPattern(pattern, name))
  const found: Sample['topics'] = []
  const ask = async (): Promise<void> => {
    for (let name = names.shift(); name !== undefined; name = names.shift()) {
      const path = topicPath(name)
      const topic = await api.find<TopicJson>(path, 'topic_not_found')
      const answer = await api.find<{ subscriptions: SubscriptionJson[] }>(`${path}/subscriptions`, 'topic_not_found')
      // One that was deleted meanwhile is not shown.
      if (topic && answer) found.push({ topic, subscriptions: answer.subscriptions })
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, ask))
  return found
}

/** Or until the signal. */
async function pause(clock: Clock, ms: number, ended: AbortSignal): Promise<void> {
  let wake = (): void => undefined
  const timer = clock.after(ms, () => wake())
  await new Promise<void>((resolve) => {
    wake = resolve
    ended.addEventListener('abort', wake)
    if (ended.aborted) resolve()
  })
  ended.removeEventListener('abort', wake)
  timer.cancel()
}
