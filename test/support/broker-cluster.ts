/**
 * Brokers that are a cluster, as processes of their own, over an etcd of their own, on loopback. Each can be killed, paused,
 * ended and started again; what passes between them, and between them and etcd, passes a network that can be cut.
 * Clients reach them past it. Everything is ended by `stop`.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { call, eventually } from './admin-client.ts'
import { BrokerProcess, freePort } from './broker-process.ts'
import { Etcd } from './etcd.ts'
import { FaultNetwork } from './fault-network.ts'

export interface ClusterOptions {
  brokers?: number
  /** More flags of `serve`. */
  flags?: readonly string[]
}

export interface Member {
  readonly id: string
  readonly broker: BrokerProcess
}

interface PartitionFact {
  topic: string
  leader: string | null
  replicas: string[]
  isr: string[]
}

/** A broker says who it is in its first bytes to another: by the name in its hello, or in the header Via. */
const VIA = /^via:(?:.*, )?1\.1 (\S+) \(tidings\)\r$/im
const NAME_AT_END = /[\w.-]+$/

export class BrokerCluster {
  readonly members: readonly Member[]
  readonly etcd: Etcd
  readonly network: FaultNetwork

  private constructor(members: readonly Member[], etcd: Etcd, network: FaultNetwork) {
    this.members = members
    this.etcd = etcd
    this.network = network
  }

  static async start({ brokers = 3, flags = [] }: ClusterOptions = {}): Promise<BrokerCluster> {
    const etcd = await Etcd.start()
    const network = new FaultNetwork()
    const start = async (n: number): Promise<Member> => {
      const id = `b${n + 1}`
      // Others find it there, at the ports that it has itself: the network stands between them.
      const host = `127.0.0.${11 + n}`
      const [port, peerPort] = [await freePort(), await freePort()]
      await network.listen({ to: id, host, port, targetPort: port, caller: nameInRequest })
      await network.listen({ to: id, host, port: peerPort, targetPort: peerPort, caller: nameInHello })
      const etcdPort = await network.listen({ to: 'etcd', targetPort: etcd.port, caller: id })
      const where = ['--etcd', `http://127.0.0.1:${etcdPort}`, '--advertise', `http://${host}:${port}`]
      const who = ['--node-id', id, '--peer-host', '127.0.0.1', '--peer-port', String(peerPort)]
      return { id, broker: await BrokerProcess.start({ port, flags: [...where, ...who, ...flags] }) }
    }
    const members = await Promise.all(Array.from({ length: brokers }, (_, n) => start(n)))
    const cluster = new BrokerCluster(members, etcd, network)
    await cluster.allKnown()
    return cluster
  }

  get urls(): string[] {
    return this.members.map(({ broker }) => broker.url)
  }

  member(id: string): Member {
    const member = this.members.find((one) => one.id === id)
    if (!member) throw new Error(`there is no broker ${id}`)
    return member
  }

  /** Who leads the topic, as those say who answer. */
  async leaderOf(topic: string): Promise<Member> {
    const leader = await eventually(
      `somebody leads ${topic}`,
      async () => (await this.#partitions(topic)).find(({ leader }) => leader !== null)?.leader ?? null,
      (id) => id !== null,
      60_000,
    )
    return this.member(leader!)
  }

  async followersOf(topic: string): Promise<Member[]> {
    const leader = await this.leaderOf(topic)
    return this.members.filter((member) => member !== leader)
  }

  /** Waits until every broker sees every other. */
  async allKnown(): Promise<void> {
    for (const { id, broker } of this.members) {
      await eventually(
        `${id} sees all brokers`,
        async () => (await factsOf(broker.url))?.nodes.length ?? 0,
        (count) => count === this.members.length,
        60_000,
      )
    }
  }

  /** Waits until every replica of the topic is in sync, and every broker says so and names a leader. */
  async inSync(topic: string, timeoutMs = 60_000): Promise<void> {
    for (const { id, broker } of this.members) {
      await eventually(
        `${id} sees all replicas of ${topic} in sync`,
        async () => (await factsOf(broker.url))?.partitions.filter((fact) => fact.topic === topic) ?? [],
        (facts) =>
          facts.length > 0 && facts.every(({ leader, replicas, isr }) => leader && isr.length === replicas.length),
        timeoutMs,
      )
    }
  }

  pause({ broker }: Member): void {
    process.kill(broker.pid, 'SIGSTOP')
  }

  resume({ broker }: Member): void {
    process.kill(broker.pid, 'SIGCONT')
  }

  /** Cut from the others of the list in both directions. */
  isolate({ id }: Member, from: readonly string[]): void {
    for (const other of from) {
      this.network.cut(id, other)
      this.network.cut(other, id)
    }
  }

  async stop(): Promise<void> {
    for (const { broker } of this.members) await broker.kill().catch(() => undefined)
    await this.network.stop()
    await this.etcd.stop()
  }

  async #partitions(topic: string): Promise<PartitionFact[]> {
    for (const { broker } of this.members) {
      const facts = await factsOf(broker.url)
      if (facts) return facts.partitions.filter((fact) => fact.topic === topic)
    }
    await sleep(100)
    return []
  }
}

async function factsOf(url: string): Promise<{ nodes: { id: string }[]; partitions: PartitionFact[] } | undefined> {
  const answer = await call('GET', `${url}/v1/cluster`, undefined, 2000).catch(() => undefined)
  return answer?.status === 200 ? answer.body : undefined
}

function nameInRequest(first: Buffer): string | undefined {
  const text = first.toString('latin1')
  const end = text.indexOf('\r\n\r\n')
  return end < 0 ? undefined : (VIA.exec(text.slice(0, end + 2))?.[1] ?? 'client')
}

function nameInHello(first: Buffer): string | undefined {
  const end = first.length < 4 ? Number.POSITIVE_INFINITY : 4 + first.readUInt32BE(0)
  return first.length < end ? undefined : NAME_AT_END.exec(first.toString('latin1', 4, end))?.[0]
}
