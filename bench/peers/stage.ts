/**
 * One row of the comparison on one peer: a fresh server on a fresh directory, its clients as processes, the processor
 * time of both while it was measured, and the count of what came. `withStage` ends everything, however the row ends.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PEERS, type PeerName } from './all.ts'
import type { ClientJob, Progress } from './client-job.ts'
import { ClientProcess } from './client-process.ts'
import type { Peer, PeerClient, PeerServer } from './peer.ts'

/** Ticks of /proc/PID/stat. */
const TICKS_A_SECOND = 100

const directories = new Set<string>()
process.once('exit', () => {
  for (const path of directories) rmSync(path, { recursive: true, force: true })
})

export interface Cpu {
  serverCpu: number
  clientCpu: number
}

export class Stage {
  readonly name: PeerName
  readonly peer: Peer
  readonly server: PeerServer
  readonly admin: PeerClient
  readonly #clients: ClientProcess[] = []

  constructor(name: PeerName, server: PeerServer, admin: PeerClient) {
    this.name = name
    this.peer = PEERS[name]
    this.server = server
    this.admin = admin
  }

  /** Starts a client and waits until it is connected. */
  async client(job: DistributiveOmit<ClientJob, 'peer' | 'address'>): Promise<ClientProcess> {
    const client = new ClientProcess({ ...job, peer: this.name, address: this.server.address } as ClientJob)
    this.#clients.push(client)
    await client.heard('ready')
    return client
  }

  /** Seconds of processor time until now. */
  cpu(): Cpu {
    const clientCpu = this.#clients.reduce((sum, { pid }) => sum + cpuSeconds(pid), 0)
    return { serverCpu: cpuSeconds(this.server.pid), clientCpu }
  }

  async close(): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.stop()))
    await Promise.race([this.admin.close().catch(() => undefined), new Promise((resolve) => setTimeout(resolve, 1000))])
    await this.server.kill()
  }
}

type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never

export async function withStage<T>(name: PeerName, use: (stage: Stage) => Promise<T>): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), `bench-${name}-`))
  directories.add(directory)
  try {
    const server = await PEERS[name].start(directory)
    try {
      const stage = new Stage(name, server, await PEERS[name].connect(server.address, { isSerial: false }))
      try {
        return await use(stage)
      } finally {
        await stage.close()
      }
    } finally {
      await server.kill()
    }
  } finally {
    rmSync(directory, { recursive: true, force: true })
    directories.delete(directory)
  }
}

export function cpuBetween(before: Cpu, after: Cpu): { serverCpuS: number; clientCpuS: number } {
  return { serverCpuS: after.serverCpu - before.serverCpu, clientCpuS: after.clientCpu - before.clientCpu }
}

export function total(clients: readonly ClientProcess[]): Progress {
  const sum = { received: 0, acked: 0, distinct: 0 }
  for (const { progress } of clients) {
    sum.received += progress.received
    sum.acked += progress.acked
    sum.distinct += progress.distinct
  }
  return sum
}

/** User and system time of a process and its threads; 0 when it is gone. */
function cpuSeconds(pid: number): number {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ')
    return (Number(fields[11]) + Number(fields[12])) / TICKS_A_SECOND
  } catch {
    return 0
  }
}
