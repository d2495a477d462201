/**
 * Certificates for tests, made by Debian's openssl: an authority, and keys that it has signed. Files in a temporary
 * directory that the caller removes.
 */
import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { ensureProgram } from './debian-package.ts'

export interface KeyPair {
  certFile: string
  keyFile: string
}

export class Authority implements KeyPair {
  readonly certFile: string
  readonly keyFile: string
  readonly #openssl: string
  readonly #directory: string
  #made = 0

  private constructor(openssl: string, directory: string, name: string) {
    this.#openssl = openssl
    this.#directory = directory
    this.certFile = join(directory, `${name}.pem`)
    this.keyFile = join(directory, `${name}-key.pem`)
  }

  /** A new one, which nobody trusts but who is given its certificate. */
  static async make(directory: string, name: string): Promise<Authority> {
    const authority = new Authority(await ensureProgram('openssl'), directory, name)
    const { certFile, keyFile } = authority
    const subject = ['-subj', `/CN=${name}`, '-days', '2']
    const extensions = ['-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'keyUsage=critical,keyCertSign']
    await authority.#run(['req', '-x509', ...newKey(keyFile), ...subject, ...extensions, '-out', certFile])
    return authority
  }

  /**
   * For servers on 127.0.0.1 and for clients. It has no CommonName: etcd's gateway refuses clients that show one, lest
   * somebody take it for the name of a user.
   */
  async sign(name: string): Promise<KeyPair> {
    const path = join(this.#directory, `${name}-${++this.#made}`)
    const [certFile, keyFile, request, extensions] = [`${path}.pem`, `${path}-key.pem`, `${path}.csr`, `${path}.ext`]
    writeFileSync(extensions, 'subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n')
    await this.#run(['req', ...newKey(keyFile), '-subj', `/O=${name}`, '-out', request])
    const signer = ['-CA', this.certFile, '-CAkey', this.keyFile, '-CAcreateserial', '-days', '2']
    await this.#run(['x509', '-req', '-in', request, ...signer, '-extfile', extensions, '-out', certFile])
    return { certFile, keyFile }
  }

  async #run(parameters: readonly string[]): Promise<void> {
    await promisify(execFile)(this.#openssl, [...parameters])
  }
}

function newKey(keyFile: string): string[] {
  return ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', keyFile]
}
