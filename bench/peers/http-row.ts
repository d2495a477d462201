/**
 * Plain HTTP, one message a request, on so many keep-alive connections: the broker and a bare fastify route that only
 * answers the same JSON, in turn.
 */
import { callOk } from '../../test/support/admin-client.ts'
import { BrokerProcess, stopAll } from '../../test/support/broker-process.ts'
import { BareServer, runJob } from '../harness/processes.ts'
import type { Figures, Scale } from './measure.ts'

export async function httpPublishing(connections: number, scale: Scale): Promise<Figures> {
  const seconds = scale.durationMs / 1000
  const job = { kind: 'single', topic: 'bench', connections, ratePerSecond: 0, seconds } as const
  const bare = await BareServer.start()
  const bareFigures = await runJob({ ...job, url: bare.url })
  await bare.stop()
  const broker = await BrokerProcess.start()
  try {
    await callOk('PUT', `${broker.url}/v1/topics/bench`, {})
    const figures = await runJob({ ...job, url: broker.url })
    const barePerSecond = bareFigures['perSecond']!
    return { perSecond: figures['perSecond']!, barePerSecond, ofBare: figures['perSecond']! / barePerSecond }
  } finally {
    await stopAll()
  }
}
