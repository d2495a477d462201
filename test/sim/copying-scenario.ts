/**
 * Three brokers, one topic, one seed: crashes of processes and machines, cut and broken links, lost leases, elections, answers
 * of the store that get lost; and after each single step the promises of replication are looked at, by somebody who sees
 * all disks. At the end everything heals, and all three must have the same.
 */
import type { Disk } from '../../src/base/disk.ts'
import { SimClock } from '../../src/testing/sim-clock.ts'
import { SimNetwork } from '../../src/testing/sim-network.ts'
import { SimRandom } from '../../src/testing/sim-random.ts'
import { settle } from '../support/settle.ts'
import { BrokerLife, type BrokerSurroundings } from './copying-broker.ts'
import { CopyMachine, type Expected } from './copying-machine.ts'
import { type SimLeadership, SimStore } from './copying-store.ts'
import { Violation } from './witness.ts'

export interface CopyScenarioOptions {
  seed: number
  wrapDisk?: (disk: Disk) => Disk
  /** Brokers hear very late who leads, and leases are lost often. Without it, one seed in four. */
  isLate?: boolean
  onLine?: (line: string) => void
}

const NODES = ['a', 'b', 'c']
const LOGS = ['0/data', '0/cursors', 'schedule']
const CHAOS_MS = 7000
const HEALING_MS = 60_000

export class CopyScenario {
  readonly counts = new Map<string, number>()
  readonly #clock = new SimClock({ soon: 'driven' })
  readonly #random: SimRandom
  readonly #network: SimNetwork
  readonly #store: SimStore
  readonly #around: BrokerSurroundings
  readonly #machines: CopyMachine[]
  readonly #lives = new Map<string, BrokerLife>()
  /** What was ever committed of each log, from offset 0 on. */
  readonly #committed = new Map<string, string[]>()
  readonly #heals = new Set<() => void>()
  readonly #journal: (line: string) => void
  readonly #isLate: boolean
  /** Leaderships as they were, the newest last. */
  readonly #past: SimLeadership[]
  #isHealing = false
  #isWriting = true

  constructor({ seed, wrapDisk, isLate, onLine = () => undefined }: CopyScenarioOptions) {
    const random = new SimRandom(`copying ${seed}`)
    const clock = this.#clock
    this.#random = random.split('scenario')
    this.#journal = (line) => onLine(`${clock.monotonic().toFixed(1)} ${line}`)
    this.#network = new SimNetwork({ clock, random: random.split('network'), latencyMs: [0, 5] })
    this.#store = new SimStore(clock, random.split('store'), NODES)
    this.#isLate = isLate ?? random.split('late').chance(0.25)
    this.#past = [this.#store.leadership]
    this.#around = {
      clock,
      random: random.split('brokers'),
      network: this.#network,
      store: this.#store,
      nodes: NODES,
      minInSync: 1 + random.split('shape').integer(2),
      logNames: LOGS.slice(0, 1 + random.split('logs').integer(3)),
      firstView: () => this.#firstView(),
      isWriting: () => this.#isWriting,
      count: (what) => this.#count(what),
      journal: this.#journal,
    }
    this.#machines = NODES.map((node) => new CopyMachine(node, random.split(node), this.#journal, wrapDisk))
  }

  async run(): Promise<ReadonlyMap<string, number>> {
    this.#store.onChange = () => this.#tellLate()
    for (const machine of this.#machines) this.#boot(machine)
    this.#chaos()
    await this.#drive(CHAOS_MS)
    this.#heal()
    await this.#drive(HEALING_MS, () => this.#isWhole())
    this.#checkEnd()
    return this.counts
  }

  #count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1)
    this.#journal(what)
  }

  #tellLate(): void {
    const { leadership, registrations } = this.#store
    const then = new Map(registrations)
    this.#journal(`leadership ${JSON.stringify(leadership)} ${JSON.stringify([...then])}`)
    if (this.#past.at(-1)!.version < leadership.version) this.#past.push(leadership)
    for (const life of this.#lives.values()) {
      this.#clock.after(this.#lateMs(), () => life.hear(leadership, then))
    }
  }

  #lateMs(): number {
    if (this.#isHealing) return this.#random.integer(20)
    return this.#random.integer(this.#isLate && this.#random.chance(0.7) ? 5000 : 400)
  }

  /** What a broker that boots takes for the present. */
  #firstView(): SimLeadership {
    return this.#isLate && !this.#isHealing ? this.#random.pick(this.#past.slice(-4)) : this.#store.leadership
  }

  #boot(machine: CopyMachine): void {
    this.#lives.set(machine.node, new BrokerLife(this.#around, machine))
    this.#count('boot')
  }

  /** Something goes wrong, again and again. */
  #chaos(): void {
    this.#clock.after(20 + this.#random.integer(280), () => {
      if (this.#isHealing) return
      this.#trouble()
      this.#chaos()
    })
  }

  #trouble(): void {
    const random = this.#random
    const machine = random.pick(this.#machines)
    const { node } = machine
    if (this.#isLate && random.chance(0.4)) return this.#depose()
    switch (random.integer(10)) {
      case 0:
      case 1:
        return this.#crash(machine, random.pick(['process', 'power'] as const))
      case 2:
        this.#count('lease lost')
        this.#store.unregister(node)
        this.#clock.after(random.integer(1500), () => this.#reregister(node))
        return
      case 3:
      case 4:
        return this.#cut(node, random.pick(NODES.filter((other) => other !== node)))
      case 5:
        this.#count('break')
        return this.#network.breakLinks(node, random.pick(NODES.filter((other) => other !== node)))
      default:
        if (this.#store.elect()) this.#count('election')
    }
  }

  /** The leader's lease ends, another leads at once, and the old one does not know for a long time. */
  #depose(): void {
    const { leader } = this.#store.leadership
    this.#count('lease lost')
    this.#store.unregister(leader)
    if (this.#store.elect()) this.#count('election')
    this.#clock.after(this.#random.integer(3000), () => this.#reregister(leader))
  }

  #reregister(node: string): void {
    const life = this.#lives.get(node)
    if (life && !this.#store.registrations.has(node)) life.reregister()
  }

  #cut(from: string, to: string): void {
    this.#count('cut')
    const heal = this.#network.cut(from, to)
    this.#heals.add(heal)
    this.#clock.after(this.#random.integer(4000), heal)
  }

  #crash(machine: CopyMachine, kind: 'process' | 'power'): void {
    const life = this.#lives.get(machine.node)
    if (!life) return
    this.#count(`crash ${kind}`)
    this.#lives.delete(machine.node)
    life.kill(kind === 'power' ? 'silent' : 'closed')
    machine.disk.crash(kind)
    this.#clock.after(this.#random.integer(500), () => {
      if (!this.#lives.has(machine.node)) this.#store.unregister(machine.node)
    })
    this.#clock.after(this.#random.integer(this.#isLate ? 200 : 2000), () => {
      if (!this.#lives.has(machine.node)) this.#boot(machine)
    })
  }

  #heal(): void {
    this.#count('heal')
    this.#isHealing = true
    for (const heal of this.#heals) heal()
    for (const machine of this.#machines) if (!this.#lives.has(machine.node)) this.#boot(machine)
    for (const { node } of this.#machines) this.#reregister(node)
    this.#clock.after(1500, () => {
      this.#isWriting = false
    })
    const elect = (): void => {
      this.#store.elect()
      this.#tellLate()
      this.#clock.after(500, elect)
    }
    elect()
  }

  /** Lets things happen, one at a time, for so long or until it is done. */
  async #drive(ms: number, isDone: () => boolean = () => false): Promise<void> {
    const until = this.#clock.monotonic() + ms
    for (let step = 0; this.#clock.monotonic() < until && !isDone(); step++) {
      const busy = this.#machines.filter(({ disk }) => disk.pending.length > 0)
      if (busy.length > 0 && this.#random.chance(0.8)) this.#random.pick(busy).disk.step()
      else this.#clock.runNext()
      await settle()
      this.#check()
    }
  }

  #check(): void {
    for (const life of this.#lives.values()) {
      if (life.failure !== null) throw life.failure
      for (const log of life.replica?.logs.values() ?? []) log.note()
    }
    for (const life of this.#lives.values()) {
      const { role, replica } = life
      if (role?.kind !== 'leader' || !replica) continue
      for (const [name, log] of replica.logs) {
        // What is answered here is what a publisher would hear of, and a consumer be shown.
        const mark = role.feed.quorum(name, log).durable(log.durableOffset)
        this.#commit(name, log.expected, mark)
        this.#compare('R-MATCH', life.node, name, log.expected, mark)
        if (role.isOpen && role.epoch === this.#store.leadership.epoch) {
          this.#mustHave('R-COMPLETE', life.node, name, log.expected, log.nextOffset)
        }
      }
    }
    // R-CANDIDATE, and with it R-HW and R-SUPERSET: whoever the store has in sync has all that is committed, durably.
    for (const { node } of this.#store.leadership.inSync) {
      const machine = this.#machines.find((one) => one.node === node)!
      for (const name of this.#committed.keys()) {
        const expected = machine.expected.get(name)
        this.#mustHave('R-CANDIDATE', node, name, expected, expected?.durable ?? 0)
      }
    }
    this.#checkFollowers()
  }

  /** R-MATCH: what a follower takes for committed is what is. */
  #checkFollowers(): void {
    for (const { node, role, replica } of this.#lives.values()) {
      if (role?.kind !== 'follower' || !replica) continue
      for (const [name, log] of replica.logs) {
        // While a log is cut, what is noted of it is older than what it says of itself.
        if (log.expected.cutTo !== null || log.expected.restartAt !== null) continue
        const known = Math.min(role.follower.committed(name), log.nextOffset)
        this.#compare('R-MATCH', node, name, log.expected, known)
      }
    }
  }

  /** Below a leader's mark all is committed for good. */
  #commit(name: string, { start, records }: Expected, mark: number): void {
    let committed = this.#committed.get(name)
    if (!committed) this.#committed.set(name, (committed = []))
    while (committed.length < mark) {
      const record = records[committed.length - start]
      if (record === undefined) throw new Violation('R-HW', `${name}: nothing is at ${committed.length}`)
      committed.push(record)
    }
  }

  #mustHave(rule: string, node: string, name: string, expected: Expected | undefined, end: number): void {
    const committed = this.#committed.get(name)?.length ?? 0
    if (end < committed) throw new Violation(rule, `${node} has ${end} of ${committed} of ${name}`)
    if (expected) this.#compare(rule, node, name, expected, committed)
  }

  #compare(rule: string, node: string, name: string, expected: Expected, to: number): void {
    const committed = this.#committed.get(name) ?? []
    const end = Math.min(to, committed.length)
    for (let offset = Math.max(expected.compared, expected.start); offset < end; offset++) {
      const record = expected.records[offset - expected.start]
      if (record === committed[offset]) continue
      throw new Violation(rule, `${node} has ${record} at ${offset} of ${name}, not ${committed[offset]}`)
    }
    expected.compared = Math.max(expected.compared, end)
  }

  /** All is healed, copied and committed, everywhere. */
  #isWhole(): boolean {
    if (this.#isWriting || this.#store.leadership.inSync.length < NODES.length) return false
    const leader = this.#lives.get(this.#store.leadership.leader)
    if (leader?.role?.kind !== 'leader' || !leader.role.isOpen) return false
    return [...(leader.replica?.logs ?? [])].every(([name, log]) =>
      NODES.every((node) => {
        const copy = this.#lives.get(node)?.replica?.logs.get(name)
        const committed = this.#committed.get(name)?.length ?? 0
        return copy?.durableOffset === log.nextOffset && log.nextOffset === committed
      }),
    )
  }

  #checkEnd(): void {
    const { leadership } = this.#store
    if (!this.#isWhole()) {
      const lives = [...this.#lives.values()].map(({ node, role, replica }) => [
        node,
        role?.kind,
        role?.kind === 'follower' ? role.follower.state : role?.isOpen,
        [...(replica?.logs ?? [])].map(([name, log]) => `${name} ${log.durableOffset}/${log.nextOffset}`),
      ])
      throw new Violation('LIVENESS', `${JSON.stringify(leadership)} ${JSON.stringify(lives)}`)
    }
    for (const [name, committed] of this.#committed) {
      for (const node of NODES) {
        const { expected } = this.#lives.get(node)!.replica!.logs.get(name)!
        expected.compared = 0
        this.#mustHave('R-COMPLETE', node, name, expected, expected.durable)
      }
      this.counts.set('committed', (this.counts.get('committed') ?? 0) + committed.length)
    }
  }
}
