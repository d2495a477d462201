/** A client process of the peers' bench: connects to its peer, does its one job, and ends. */
import { PEERS } from './all.ts'
import type { ClientJob, Order, Word } from './client-job.ts'
import { Consuming } from './consume-job.ts'
import { Publishing } from './publish-job.ts'

const say = (word: Word): void => {
  process.send?.(word)
}

async function perform(job: ClientJob): Promise<void> {
  const isSerial = job.kind === 'publish' && 'inFlight' in job.load && job.load.inFlight === 1
  const client = await PEERS[job.peer].connect(job.address, { isSerial })
  let go: () => void = () => undefined
  let finish: () => void = () => undefined
  const going = new Promise<void>((resolve) => {
    go = resolve
  })
  const finished = new Promise<void>((resolve) => {
    finish = resolve
  })
  const publishing = job.kind === 'publish' ? new Publishing(job, client, say) : null
  process.on('message', (message) => {
    const order = message as Order
    if (order.type === 'go') go()
    else if (order.type === 'finish') finish()
    publishing?.hear(order)
  })
  say({ type: 'ready' })
  await going
  const figures = publishing
    ? await publishing.run()
    : await new Consuming(job as Extract<ClientJob, { kind: 'consume' }>, client, say).run(finished)
  if (publishing) await client.close()
  process.send?.({ type: 'done', figures } satisfies Word, () => process.exit(0))
}

function fail(error: unknown): void {
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
  process.send?.({ type: 'failed', text } satisfies Word, () => process.exit(1))
}

process.once('disconnect', () => process.exit(1))
process.once('unhandledRejection', fail)
process.once('message', (job) => void perform(job as ClientJob).catch(fail))
