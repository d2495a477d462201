/**
 * A PostgreSQL of the test's own, from Debian's package: a new cluster in a temporary directory on a free loopback port,
 * which trusts everybody and goes with the test. It refuses to run as root, so then it runs as the user `postgres`.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { access, chown, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import pg from 'pg'
import { freePort } from './broker-process.ts'
import { ensureProgram, findProgram } from './debian-package.ts'

const VERSIONS = '/usr/lib/postgresql'
const START_MS = 60_000

export interface Postgres {
  url: string
  stop(): Promise<void>
}

export async function startPostgres(): Promise<Postgres> {
  const bin = await programs()
  const directory = await mkdtemp(join(tmpdir(), 'tidings-postgres-'))
  const data = join(directory, 'data')
  const owner = process.getuid?.() === 0 ? await postgresUser() : null
  if (owner) await chown(directory, owner.uid, owner.gid)
  const env = { ...process.env, LC_ALL: 'C' }
  const init = ['--pgdata', data, '--username', 'tidings', '--auth', 'trust', '--no-sync', '--encoding', 'UTF8']
  await promisify(execFile)(join(bin, 'initdb'), init, { ...owner, env, cwd: directory })
  const port = await freePort()
  const settings = ['listen_addresses=127.0.0.1', 'unix_socket_directories=', 'fsync=off', `port=${port}`]
  const args = ['-D', data, ...settings.flatMap((setting) => ['-c', setting])]
  const server = spawn(join(bin, 'postgres'), args, { ...owner, env, cwd: directory, stdio: 'ignore' })
  const url = `postgres://tidings@127.0.0.1:${port}/postgres`
  await ready(server, url)
  return {
    url,
    async stop() {
      // Its fast shutdown, which does not wait for clients.
      if (server.exitCode === null && server.kill('SIGINT')) await once(server, 'exit')
      await rm(directory, { recursive: true, force: true })
    },
  }
}

/** The folder of the newest version: Debian does not put it on the PATH. */
async function programs(): Promise<string> {
  const known = await newest()
  if (known) return known
  await ensureProgram('pg_lsclusters', 'postgresql')
  const installed = await newest()
  if (!installed) throw new Error('this test needs initdb, which the package postgresql did not bring')
  return installed
}

async function newest(): Promise<string | null> {
  const versions = await readdir(VERSIONS).catch(() => [])
  for (const version of versions.sort((a, b) => Number(b) - Number(a))) {
    const bin = join(VERSIONS, version, 'bin')
    const isThere = await access(join(bin, 'initdb')).then(
      () => true,
      () => false,
    )
    if (isThere) return bin
  }
  const initdb = await findProgram('initdb')
  return initdb && dirname(initdb)
}

async function postgresUser(): Promise<{ uid: number; gid: number }> {
  const line = (await readFile('/etc/passwd', 'utf8')).split('\n').find((entry) => entry.startsWith('postgres:'))
  if (!line) throw new Error('this test needs the user postgres, which the package postgresql makes')
  const [, , uid, gid] = line.split(':')
  return { uid: Number(uid), gid: Number(gid) }
}

/** Until it answers: it takes connections, and refuses them, while it still starts. */
async function ready(server: ChildProcess, connectionString: string): Promise<void> {
  const deadline = performance.now() + START_MS
  while (performance.now() < deadline && server.exitCode === null) {
    const client = new pg.Client({ connectionString })
    const isUp = await client.connect().then(
      () => true,
      () => false,
    )
    if (isUp) return client.end()
    await sleep(50)
  }
  throw new Error('PostgreSQL did not start')
}
