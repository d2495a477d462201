/**
 * What the settings say of a cluster, as the broker wants to be told: how it reaches other brokers, and what it is among
 * them. Reads the certificates; called when a broker is started with `--etcd`.
 */
import { readFileSync } from 'node:fs'
import type { Clock } from '../base/clock.ts'
import type { Logger } from '../base/telemetry.ts'
import type { BrokerOptions } from '../broker.ts'
import type { PeerNetwork } from '../cluster/peer-network.ts'
import type { Hello } from '../cluster/peer-protocol.ts'
import { type PeerCertificates, TcpNetwork } from '../cluster/tcp-network.ts'
import type { Config } from '../config.ts'

export function peerNetwork(
  config: Config,
  { clock, logger }: { clock: Clock; logger: Logger },
  hello: () => Hello,
): PeerNetwork {
  const certificates = (): PeerCertificates | null => certificatesOf(config)
  return new TcpNetwork({
    host: config.peerHost ?? config.host,
    port: config.peerPort,
    hello,
    clock,
    logger,
    certificates,
  })
}

/** Read for each link, so that a certificate that was renewed is used. */
function certificatesOf({ peerCa, peerCert, peerKey }: Config): PeerCertificates | null {
  if (peerCa === null || peerCert === null || peerKey === null) return null
  const [ca, cert, key] = [peerCa, peerCert, peerKey].map((path) => readFileSync(path, 'utf8'))
  return { ca: ca!, cert: cert!, key: key! }
}

export function clusterOf(config: Config): NonNullable<BrokerOptions['cluster']> {
  const { rack, leaseMs, replicaLagMs, defaultReplicationFactor, defaultMinInSyncReplicas } = config
  const advertise = config.advertise ?? ''
  return {
    advertise,
    rack,
    leaseMs,
    replicaLagMs,
    copies: { replicationFactor: defaultReplicationFactor, minInSyncReplicas: defaultMinInSyncReplicas },
    // It may listen on all addresses: others come by the name that it gives itself, and the port that it listens on.
    peerAddressOf: (listening) => `${new URL(advertise).hostname}:${listening.slice(listening.lastIndexOf(':') + 1)}`,
  }
}
