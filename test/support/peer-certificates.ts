/** Certificates as brokers have them: one authority, and for each broker one that carries its id. Made with openssl. */
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { PeerCertificates } from '../../src/cluster/tcp-network.ts'
import { ensureProgram } from './debian-package.ts'

const run = promisify(execFile)

/** Certificates of one authority for each of these names. */
export async function peerCertificates(names: readonly string[]): Promise<Map<string, PeerCertificates>> {
  const openssl = await ensureProgram('openssl')
  const directory = await mkdtemp(join(tmpdir(), 'tidings-certificates-'))
  const file = (name: string): string => join(directory, name)
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  try {
    const authority = ['-x509', ...key, '-keyout', file('ca.key'), '-out', file('ca.pem'), '-subj', '/CN=authority']
    await run(openssl, ['req', ...authority, '-days', '2'])
    const ca = await readFile(file('ca.pem'), 'utf8')
    const made = new Map<string, PeerCertificates>()
    for (const name of names) {
      await run(openssl, ['req', ...key, '-keyout', file('key'), '-out', file('csr'), '-subj', '/CN=a broker'])
      await writeFile(file('ext'), `subjectAltName=DNS:${name}`)
      const signing = ['-CA', file('ca.pem'), '-CAkey', file('ca.key'), '-CAcreateserial', '-extfile', file('ext')]
      await run(openssl, ['x509', '-req', '-in', file('csr'), ...signing, '-out', file('cert'), '-days', '2'])
      made.set(name, { ca, key: await readFile(file('key'), 'utf8'), cert: await readFile(file('cert'), 'utf8') })
    }
    return made
  } finally {
    await rm(directory, { recursive: true })
  }
}
