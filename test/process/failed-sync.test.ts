/**
 * A sync that fails, injected into the system call of the running broker: nobody is told that their message is safe,
 * and the process ends, because only a fresh start can know what is on disk.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { afterEach, describe, expect, it } from 'vitest'
import { callOk } from '../support/admin-client.ts'
import { BrokerProcess, stopAll } from '../support/broker-process.ts'

const tracers = new Set<ChildProcess>()

afterEach(async () => {
  await stopAll()
  for (const tracer of tracers) tracer.kill('SIGKILL')
  tracers.clear()
})

/** Lets every sync of the process fail from now on, writes that are synced as they end among them; resolves when it holds. */
async function failSyncs(pid: number): Promise<void> {
  const calls = 'fsync,fdatasync,pwrite64'
  const inject = ['-e', `trace=${calls}`, '-e', `inject=${calls}:error=EIO`]
  const tracer = spawn('strace', ['-f', ...inject, '-p', String(pid)], { stdio: ['ignore', 'ignore', 'pipe'] })
  tracers.add(tracer)
  const [first] = (await once(tracer.stderr, 'data')) as [Buffer]
  if (!first.toString().includes('attached')) throw new Error(`strace says: ${first.toString()}`)
}

/** Whether this machine has strace and lets it attach to a process. */
function canTrace(): boolean {
  if (spawnSync('strace', ['--version']).status !== 0) return false
  return spawnSync('strace', ['-qq', '-e', 'trace=none', 'true']).status === 0
}

async function publish(broker: BrokerProcess, text: string): Promise<number | undefined> {
  const body = {
    method: 'POST',
    headers: { 'content-type': 'text/plain' },
    body: text,
    signal: AbortSignal.timeout(10_000),
  }
  const answer = await fetch(`${broker.url}/v1/topics/orders/messages`, body).catch(() => undefined)
  return answer?.status
}

describe('a sync that fails', () => {
  const why = 'needs strace, and the right to attach to a process'
  it.skipIf(!canTrace())(`answers no publish with 200 and ends the process with 70 (${why})`, async () => {
    const broker = await BrokerProcess.start()
    for (let n = 0; n < 20; n++) expect(await publish(broker, `before-${n}`)).toBe(200)
    await failSyncs(broker.pid)
    const statuses = await Promise.all(Array.from({ length: 10 }, (_, n) => publish(broker, `during-${n}`)))
    expect(statuses).not.toContain(200)
    expect(await broker.exited(10_000)).toMatchObject({ code: 70 })

    await broker.restart()
    const page = await callOk('GET', `${broker.url}/v1/topics/orders/partitions/0/messages?limit=1000`)
    const seen = (page.messages as { value: string }[]).map((message) => message.value)
    expect(seen.slice(0, 20)).toEqual(Array.from({ length: 20 }, (_, n) => `before-${n}`))
    expect(await publish(broker, 'after')).toBe(200)
  })
})
