/**
 * The coordinator that a broker is to run with: the store in its data directory, or etcd where that is named. The store
 * is opened either way, for it is the lock of the directory; beside etcd it stays empty.
 */
import { readFileSync } from 'node:fs'
import type { Clock, Random } from '../base/clock.ts'
import type { Disk } from '../base/disk.ts'
import type { Latch } from '../base/latch.ts'
import type { Logger } from '../base/telemetry.ts'
import type { Coordinator } from '../cluster/coordinator.ts'
import { openSqliteCoordinator } from '../cluster/sqlite-coordinator.ts'
import type { Config } from '../config.ts'

export interface OpenCoordinator {
  coordinator: Coordinator
  /** Its store was made just now. */
  coordinatorIsNew: boolean
  /** Resolves when it can be asked; waits for as long as it takes. */
  coordinatorReady(): Promise<void>
}

interface Ports {
  disk: Disk
  clock: Clock
  random: Random
  latch: Latch
  logger: Logger
}

/** Throws StoreError, or an error with a sentence. */
export async function openCoordinator(config: Config, ports: Ports): Promise<OpenCoordinator> {
  const { coordinator: local, created } = await openSqliteCoordinator({ ...ports, directory: config.dataDir })
  const { etcd: urls, etcdPrefix: prefix, etcdUser, etcdPassword } = config
  if (urls.length === 0) {
    return { coordinator: local, coordinatorIsNew: created, coordinatorReady: () => Promise.resolve() }
  }
  const { entries } = await local.list('')
  if (entries.length > 0) {
    await local.close()
    throw new Error(
      `${config.dataDir} belongs to a broker without a cluster: start it without --etcd, or give a node of a cluster a directory of its own`,
    )
  }
  const { EtcdCoordinator } = await import('../cluster/etcd-coordinator.ts')
  const user = etcdUser === null || etcdPassword === null ? null : { name: etcdUser, password: etcdPassword }
  const coordinator = new EtcdCoordinator({ ...ports, urls, prefix, user, tls: tlsFiles(config) })
  return { coordinator, coordinatorIsNew: false, coordinatorReady: () => coordinator.ready() }
}

function tlsFiles({ etcdCa, etcdCert, etcdKey }: Config): { ca?: string; cert?: string; key?: string } {
  const files = { ca: etcdCa, cert: etcdCert, key: etcdKey }
  const given = Object.entries(files).filter((file): file is [string, string] => file[1] !== null)
  return Object.fromEntries(given.map(([name, path]) => [name, readFileSync(path, 'utf8')]))
}
