/** Why etcd cannot be used, in words for the person who runs the broker. Pure: texts never hold a credential. */
import { errorCode } from '../base/disk.ts'
import type { Refusal } from './etcd-codec.ts'
import { GRPC } from './etcd-endpoints.ts'

const UNTRUSTED = 'its certificate is signed by nobody whom we trust: give the authority with --etcd-ca'

/** Under TLS 1.3 a server that misses a certificate may just close. */
const CLOSED = ['ECONNRESET', 'EPIPE', 'UND_ERR_SOCKET']

const CAUSES: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there: is etcd running?',
  EHOSTUNREACH: 'there is no way to that host',
  ENETUNREACH: 'there is no way to that network',
  ENOTFOUND: 'the name is not known',
  EAI_AGAIN: 'the name cannot be looked up now',
  ETIMEDOUT: 'it takes no connection',
  UND_ERR_CONNECT_TIMEOUT: 'it takes no connection',
  CERT_HAS_EXPIRED: 'its certificate has expired',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is for other names than the one in --etcd',
  DEPTH_ZERO_SELF_SIGNED_CERT: UNTRUSTED,
  SELF_SIGNED_CERT_IN_CHAIN: UNTRUSTED,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: UNTRUSTED,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: UNTRUSTED,
  ERR_SSL_WRONG_VERSION_NUMBER: 'it does not speak TLS: is it http instead of https?',
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED: 'it asks for a certificate: give --etcd-cert and --etcd-key',
  ERR_SSL_TLSV1_ALERT_UNKNOWN_CA: 'it does not trust the authority of --etcd-cert',
  ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE: 'it refuses the certificate of --etcd-cert',
}

/** What is wrong with an endpoint that gave no answer. */
export function connectionProblem(url: string, cause: unknown): string {
  const code = errorCode(cause)
  if (code !== undefined && CLOSED.includes(code)) {
    const hint = url.startsWith('https:') ? '; if it asks for a certificate, give --etcd-cert and --etcd-key' : ''
    return `${url}: it closed the connection${hint}`
  }
  const known = code === undefined ? undefined : CAUSES[code]
  return `${url}: ${known ?? (cause instanceof Error ? cause.message : String(cause))}`
}

/** What etcd refused and what to do about it; `user` is null where none is configured. */
export function refusalProblem(url: string, { code, message }: Refusal, user: string | null): string {
  const said = `etcd at ${url} refuses${user === null ? '' : ` the user ${user}`}: ${message}`
  const mayMissUser = code === GRPC.permissionDenied || code === GRPC.invalidArgument
  if (user === null && mayMissUser) return `${said}; if it asks for a user, give --etcd-user`
  if (code === GRPC.permissionDenied) return `${said}; its role must read and write what lies under --etcd-prefix`
  return said
}
