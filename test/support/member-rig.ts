/**
 * One simulated broker's membership over a shared store: its registration, its view, its elector, on a clock of its own
 * that dies with it. What it is cut off from is its coordinator.
 */
import { BROKERS } from '../../src/cluster/broker-entry.ts'
import { ClusterView } from '../../src/cluster/cluster-view.ts'
import type { ControlSettings } from '../../src/cluster/control.ts'
import { Controller } from '../../src/cluster/controller.ts'
import type { Durability } from '../../src/cluster/election.ts'
import { Elector } from '../../src/cluster/elector.ts'
import { encodeLeadership, type Leadership, leadershipKey } from '../../src/cluster/leadership-entry.ts'
import { LeadershipStore } from '../../src/cluster/leadership-store.ts'
import { MemoryCoordinator } from '../../src/cluster/memory-coordinator.ts'
import { Registration } from '../../src/cluster/registration.ts'
import type { ProcessClock } from '../../src/testing/sim-clock.ts'
import { SimClock } from '../../src/testing/sim-clock.ts'
import { SimRandom } from '../../src/testing/sim-random.ts'
import { FaultyCoordinator } from './faulty-coordinator.ts'
import { LeaderStandIn } from './leader-stand-in.ts'
import { brokerOf, leadershipOf } from './leadership-of.ts'
import { NotingLogger } from './noting-logger.ts'
import { settle } from './settle.ts'

export class MemberRig {
  /** Of all controllers that are made from now on. */
  control: Partial<ControlSettings> = {}
  readonly clock = new SimClock()
  readonly random = new SimRandom('members')
  readonly coordinator = new MemoryCoordinator({ clock: this.clock, random: this.random.split('store') })
  readonly store = new LeadershipStore(this.coordinator, this.clock)
  readonly members = new Map<string, Member>()

  async join(nodeId: string, patch: Parameters<typeof brokerOf>[2] = {}): Promise<Member> {
    const member = new Member(this, nodeId, patch)
    this.members.set(nodeId, member)
    await member.start()
    return member
  }

  /** A topic led by the first of these, all of them in sync; they must be registered. */
  async topic(topicId: string, nodes: readonly string[], patch: Partial<Leadership> = {}): Promise<void> {
    const isr = await Promise.all(
      nodes.map(async (node) => ({
        node,
        brokerEpoch: (await this.coordinator.get(`${BROKERS}${node}`))?.createRevision ?? 0,
      })),
    )
    const leader = { leader: nodes[0]!, leaderBrokerEpoch: isr[0]!.brokerEpoch }
    const value = leadershipOf({ topicId, isr, replicas: nodes, ...leader, ...patch })
    await this.coordinator.transact([], [{ put: leadershipKey(topicId), value: encodeLeadership(value, 'n') }])
    await this.pass(50)
  }

  async pass(ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += 50) {
      this.clock.advance(50)
      for (let turn = 0; turn < 4; turn++) await settle()
    }
  }
}

export class Member {
  readonly nodeId: string
  readonly net: FaultyCoordinator
  readonly clock: ProcessClock
  readonly registration: Registration
  readonly view: ClusterView
  readonly elector: Elector
  readonly controller: Controller
  readonly leader: LeaderStandIn
  readonly logger = new NotingLogger()
  mayLead = true
  durability: Durability = 'fsync'

  constructor(rig: MemberRig, nodeId: string, patch: Parameters<typeof brokerOf>[2]) {
    this.nodeId = nodeId
    this.clock = rig.clock.process()
    this.net = new FaultyCoordinator(rig.coordinator)
    const random = rig.random.split(`${nodeId}/${rig.clock.monotonic()}`)
    const shared = { coordinator: this.net, clock: this.clock, random, logger: this.logger }
    this.registration = new Registration({ ...shared, broker: brokerOf(nodeId, 0, patch) })
    this.view = new ClusterView(shared)
    const parts = {
      ...shared,
      view: this.view,
      store: new LeadershipStore(this.net, this.clock),
      registration: this.registration,
    }
    this.controller = new Controller({ ...parts, settings: rig.control })
    this.leader = new LeaderStandIn(nodeId, this.view, parts.store, random.split('leader'))
    this.elector = new Elector({
      ...parts,
      durabilityOf: () => this.durability,
      mayLead: () => this.mayLead,
    })
  }

  async start(): Promise<void> {
    void this.registration.start()
    await this.view.start()
    this.elector.start()
    for (let turn = 0; turn < 8; turn++) await settle()
  }

  /** Also tends the topics that it leads, and the cluster when it is its turn. */
  control(): void {
    this.leader.start()
    this.controller.start()
  }

  /** As by kill -9: its lease runs out. */
  kill(): void {
    this.clock.kill()
    this.net.isCut = true
    this.elector.stop()
    void this.controller.stop()
    this.view.stop()
  }

  /** In good order: the registration ends at once. */
  async leave(): Promise<void> {
    this.elector.stop()
    await this.controller.stop()
    this.view.stop()
    await this.registration.stop()
    this.clock.kill()
  }
}
