/**
 * A broker as a node on an etcd with TLS, certificates of clients and a user whose role is limited to the prefix; and a
 * broker whose etcd is not there when it starts, or goes while it runs.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { nullLogger } from '../../src/base/telemetry.ts'
import { EtcdCoordinator, type EtcdCoordinatorOptions } from '../../src/cluster/etcd-coordinator.ts'
import { call, callOk } from '../support/admin-client.ts'
import {
  BrokerProcess,
  freePort,
  MAIN,
  runCli,
  startProgram,
  stopAll,
  temporaryDirectory,
} from '../support/broker-process.ts'
import { Authority, type KeyPair } from '../support/certificates.ts'
import { Etcd } from '../support/etcd.ts'

/** A cluster of one broker, which has nobody to copy to. */
const ONE_COPY = ['--default-replication-factor', '1', '--default-min-in-sync-replicas', '1', '--peer-port', '0']
const PASSWORD = 'hunter2-tidings'

const base64 = (text: string): string => Buffer.from(text).toString('base64')
const textOf = (path: string): string => readFileSync(path, 'utf8')
const eventually = (check: () => void | Promise<void>): Promise<void> =>
  vi.waitFor(check, { timeout: 60_000, interval: 50 })

/** A user that may read and write under /tidings/ and nothing else, and root, without whom there is no access control. */
async function limitAccess(etcd: Etcd): Promise<void> {
  const perm = { permType: 'READWRITE', key: base64('/tidings/'), range_end: base64('/tidings0') }
  await etcd.ask('/v3/auth/role/add', { name: 'tidings' })
  await etcd.ask('/v3/auth/role/grant', { name: 'tidings', perm })
  await etcd.ask('/v3/auth/role/add', { name: 'root' })
  for (const name of ['root', 'tidings']) {
    await etcd.ask('/v3/auth/user/add', { name, password: PASSWORD })
    await etcd.ask('/v3/auth/user/grant', { user: name, role: name })
  }
  await etcd.ask('/v3/auth/enable', {})
}

describe('an etcd that asks for certificates and a user', () => {
  const directory = mkdtempSync(join(tmpdir(), 'tidings-tls-'))
  let etcd: Etcd
  let authority: Authority
  let stranger: Authority
  let own: KeyPair
  const opened: EtcdCoordinator[] = []

  beforeAll(async () => {
    authority = await Authority.make(directory, 'authority')
    stranger = await Authority.make(directory, 'stranger')
    const server = await authority.sign('etcd')
    own = await authority.sign('broker')
    const tls = ['--cert-file', server.certFile, '--key-file', server.keyFile]
    const clients = ['--client-cert-auth', '--trusted-ca-file', authority.certFile]
    const files = { ca: textOf(authority.certFile), cert: textOf(own.certFile), key: textOf(own.keyFile) }
    etcd = await Etcd.start({ flags: [...tls, ...clients], tls: files })
    await limitAccess(etcd)
  }, 300_000)

  afterAll(async () => {
    await etcd.stop()
    rmSync(directory, { recursive: true })
  })

  afterEach(async () => {
    for (const store of opened.splice(0)) await store.close()
    await stopAll()
  })

  function open(options: Partial<EtcdCoordinatorOptions> = {}): EtcdCoordinator {
    const store = new EtcdCoordinator({
      urls: [etcd.url],
      prefix: '/tidings/',
      user: { name: 'tidings', password: PASSWORD },
      tls: { ca: textOf(authority.certFile), cert: textOf(own.certFile), key: textOf(own.keyFile) },
      clock: systemClock,
      logger: nullLogger,
      callMs: 3000,
      ...options,
    })
    opened.push(store)
    return store
  }

  it('is used with them: reads, writes, leases and watches', async () => {
    const store = open()
    const lease = await store.grant(5000)
    const { revision } = await store.transact([{ key: 'a', modRevision: 0 }], [{ put: 'a', value: '1', lease }])
    const values: string[] = []
    const changes = (more: readonly object[]): void => {
      for (const change of more) values.push('put' in change ? (change.put as { value: string }).value : 'deleted')
    }
    store.watch('', revision, { changes, lost: () => undefined })
    expect(await store.keepAlive(lease)).toBe(true)
    await store.transact([], [{ put: 'b', value: '2' }])
    await store.revoke(lease)
    await eventually(() => expect(values).toEqual(['2', 'deleted']))
    await store.transact([], [{ deleteUnder: '' }])
    expect((await store.list('')).entries).toEqual([])
  })

  it('is logged in to again when it does not know the token any more', async () => {
    const store = open()
    await store.transact([], [{ put: 'a', value: '1' }])
    await etcd.kill()
    await etcd.start()
    expect((await store.get('a'))?.value).toBe('1')
    await store.transact([], [{ delete: 'a' }])
  })

  it.each<[string, () => Partial<EtcdCoordinatorOptions>, RegExp]>([
    ['a wrong password', () => ({ user: { name: 'tidings', password: `${PASSWORD}!` } }), /refuses the user tidings/],
    ['no user', () => ({ user: null }), /--etcd-user/],
    ['a prefix that is not the role’s', () => ({ prefix: '/other/' }), /permission denied; .*--etcd-prefix/],
    ['no certificate', () => ({ tls: { ca: textOf(authority.certFile) } }), /--etcd-cert/],
    ['an authority of somebody else', () => ({ tls: { ca: textOf(stranger.certFile) } }), /--etcd-ca/],
  ])('refuses %s, with a sentence that says what is wrong and no password', async (_, options, says) => {
    const store = open(options())
    const error = await store.get('a').catch((thrown: unknown) => thrown)
    expect(String(error)).toMatch(says)
    expect(JSON.stringify([String(error), (error as Error).cause])).not.toContain(PASSWORD)
  })

  it('refuses certificates that are none before anything is asked', () => {
    expect(() => open({ tls: { cert: textOf(own.certFile), key: textOf(stranger.keyFile) } })).toThrow(/--etcd-key/)
  })

  it('keeps the topics of a broker across kill -9, and its log holds no password', async () => {
    const port = await freePort()
    const flags = [...ONE_COPY, '--etcd', etcd.url, '--node-id', 'a', '--advertise', `http://127.0.0.1:${port}`]
    const tls = ['--etcd-ca', authority.certFile, '--etcd-cert', own.certFile, '--etcd-key', own.keyFile]
    const env = { TIDINGS_ETCD_USER: 'tidings', TIDINGS_ETCD_PASSWORD: PASSWORD }
    const broker = await BrokerProcess.start({ flags: [...flags, ...tls, '--log-level', 'debug'], env, port })
    await callOk('PUT', `${broker.url}/v1/topics/orders`, { partitions: 3 })
    await callOk('POST', `${broker.url}/v1/topics/orders/messages`, { n: 1 })
    await broker.kill()
    await broker.restart()
    expect(await callOk('GET', `${broker.url}/v1/topics/orders`)).toMatchObject({ name: 'orders', partitions: 3 })
    const exit = await broker.terminate()
    expect(exit.code).toBe(0)
    expect(exit.stdout + exit.stderr).not.toContain(PASSWORD)
  })

  it('makes a broker with a wrong password wait, say why, and hold it back from those who ask whether it is ready', async () => {
    const port = await freePort()
    const flags = ['--etcd', etcd.url, '--node-id', 'a', '--advertise', `http://127.0.0.1:${port}`]
    const tls = ['--etcd-ca', authority.certFile, '--etcd-cert', own.certFile, '--etcd-key', own.keyFile]
    const env = { TIDINGS_ETCD_USER: 'tidings', TIDINGS_ETCD_PASSWORD: `${PASSWORD}!` }
    const serve = ['serve', '--port', String(port), '--data-dir', join(temporaryDirectory(), 'data')]
    const program = startProgram([process.execPath, MAIN, ...serve, ...flags, ...tls], env)
    await eventually(() => expect(program.output()).toMatch(/refuses the user tidings/))
    expect((await call('GET', `http://127.0.0.1:${port}/readyz`)).status).toBe(503)
    const exit = await program.terminate()
    expect(exit.code).toBe(0)
    expect(exit.stdout + exit.stderr).not.toContain(PASSWORD)
  })
})

describe('a broker whose etcd is not there', () => {
  let etcd: Etcd

  beforeAll(async () => {
    etcd = await Etcd.start()
  }, 300_000)

  afterEach(stopAll)
  afterAll(() => etcd.stop())

  it('waits for it at the start, and goes on publishing for as long as its lease lasts when it goes', async () => {
    await etcd.kill()
    const port = await freePort()
    const url = `http://127.0.0.1:${port}`
    // Its lease outlasts what happens here.
    const flags = [
      ...ONE_COPY,
      '--lease-ms',
      '20000',
      '--etcd',
      `http://127.0.0.1:1,${etcd.url}`,
      '--node-id',
      'a',
      '--advertise',
      url,
    ]
    const serve = ['serve', '--port', String(port), '--data-dir', join(temporaryDirectory(), 'data')]
    const program = startProgram([process.execPath, MAIN, ...serve, ...flags], {})
    await eventually(() => expect(program.output()).toMatch(/etcd cannot be reached/))
    expect((await call('GET', `${url}/readyz`)).status).toBe(503)
    expect((await call('GET', `${url}/healthz`)).status).toBe(200)
    await etcd.start()
    await eventually(async () => expect((await call('GET', `${url}/readyz`)).status, program.output()).toBe(200))
    await callOk('POST', `${url}/v1/topics/orders/messages`, { n: 1 })
    await etcd.kill()
    expect(await callOk('POST', `${url}/v1/topics/orders/messages`, { n: 2 })).toMatchObject({ offset: 1 })
    const refused = await call('PUT', `${url}/v1/topics/others`, {})
    expect(refused).toMatchObject({ status: 503, body: { code: expect.stringMatching(/^(no_leader|overloaded)$/) } })
    await etcd.start()
    await eventually(async () => expect((await call('PUT', `${url}/v1/topics/others`, {})).status).toBeLessThan(300))
    expect((await program.terminate()).code).toBe(0)
  })

  it('does not take a directory of a broker without a cluster', async () => {
    const alone = await BrokerProcess.start()
    await callOk('PUT', `${alone.url}/v1/topics/orders`, {})
    await alone.terminate()
    const flags = ['--etcd', etcd.url, '--node-id', 'a', '--advertise', 'http://127.0.0.1:1']
    const exit = await runCli(['serve', '--port', '0', '--data-dir', alone.dataDir, ...flags])
    expect(exit).toMatchObject({ code: 1, stderr: expect.stringMatching(/belongs to a broker without a cluster/) })
  })
})
