/**
 * What the settings of a cluster may be, one by one and together. Pure: texts in, values or a sentence out; the sentences
 * never hold a value that may be secret. Called by config.ts.
 */

/** Origins of etcd without a path, credentials or repetition, all http or all https; undefined for anything else. */
export function endpointsFrom(values: readonly unknown[]): string[] | undefined {
  const origins = values.map((value) => (typeof value === 'string' ? originOf(value) : undefined))
  const known = origins.filter((origin): origin is string => origin !== undefined)
  const isWhole = known.length === values.length && known.length > 0 && new Set(known).size === known.length
  const schemes = new Set(known.map((origin) => new URL(origin).protocol))
  return isWhole && schemes.size === 1 ? known : undefined
}

/** The URL under which others reach this node: its origin. */
export function originOf(text: string): string | undefined {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (!url || !/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '') return undefined
  return url.pathname === '/' && url.search === '' && url.hash === '' ? url.origin : undefined
}

/** Ends with a slash, so that no other prefix begins with it by accident. */
export function isKeyPrefix(text: string): boolean {
  return /^(\/[A-Za-z0-9._~-]+)+\/$/.test(text) && text.length <= 200
}

export interface ClusterSettings {
  etcd: readonly string[]
  etcdUser: string | null
  etcdPassword: string | null
  etcdCa: string | null
  etcdCert: string | null
  etcdKey: string | null
  peerCa: string | null
  peerCert: string | null
  peerKey: string | null
  defaultReplicationFactor: number
  defaultMinInSyncReplicas: number
}

/** What only a node of a cluster has. */
const OF_CLUSTERS = [
  'etcdPrefix',
  'etcdUser',
  'etcdPassword',
  'etcdCa',
  'etcdCert',
  'etcdKey',
  'advertise',
  'peerHost',
  'peerPort',
  'peerCa',
  'peerCert',
  'peerKey',
  'rack',
  'leaseMs',
  'replicaLagMs',
  'defaultReplicationFactor',
  'defaultMinInSyncReplicas',
]

/** What is wrong with the settings together, naming flags, or null; `given`: the names of those that somebody set. */
export function clusterProblem(settings: ClusterSettings, given: ReadonlySet<string>): string | null {
  if (settings.etcd.length === 0) {
    const stray = OF_CLUSTERS.find((name) => given.has(name))
    return stray === undefined ? null : `${flag(stray)}: it means nothing without --etcd, the endpoints of etcd`
  }
  if (!given.has('nodeId')) return '--etcd: a node of a cluster needs a name that no other has: give --node-id'
  if (!given.has('advertise')) return '--etcd: the others must know how to reach this node: give --advertise URL'
  if (settings.etcdUser !== null && settings.etcdPassword === null) {
    return '--etcd-user: give its password too, best as TIDINGS_ETCD_PASSWORD'
  }
  if (settings.etcdPassword !== null && settings.etcdUser === null) {
    return '--etcd-password: give the user too, with --etcd-user'
  }
  if (settings.etcdCert !== null && settings.etcdKey === null) return '--etcd-cert: give its key too, with --etcd-key'
  if (settings.etcdKey !== null && settings.etcdCert === null)
    return '--etcd-key: give its certificate too, with --etcd-cert'
  const peers = [settings.peerCa, settings.peerCert, settings.peerKey]
  if (peers.some((file) => file !== null) && peers.includes(null)) {
    return '--peer-cert: brokers show each other certificates: give all of --peer-ca, --peer-cert and --peer-key'
  }
  if (settings.defaultMinInSyncReplicas > settings.defaultReplicationFactor) {
    return '--default-min-in-sync-replicas: it is more than --default-replication-factor'
  }
  const isPlain = settings.etcd[0]!.startsWith('http:')
  const tls = ['etcdCa', 'etcdCert'].find((name) => given.has(name))
  if (isPlain && tls !== undefined) return `${flag(tls)}: the endpoints in --etcd are http, not https`
  return null
}

function flag(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`
}
