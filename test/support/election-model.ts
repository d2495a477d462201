/**
 * A small world around election.ts, searched whole: three brokers with a topic, crashes, leases that run out under living
 * brokers, transactions that are applied late or never and whose answers get lost. The plans are the real ones; the store is
 * three registrations and one leadership; a log is a string with one digit a record, the epoch of its leader.
 *
 * A leader commits as soon as what it believes allows it to. A stale reading is a transaction that is applied late.
 * `flaw` breaks one rule, to show that the search would find it.
 */
import { changeInSync, elect, handOver, type Plan } from '../../src/cluster/election.ts'
import type { InSyncReplica, VersionedLeadership } from '../../src/cluster/leadership-entry.ts'
import { brokersOf, leadershipOf } from './leadership-of.ts'

export type Flaw =
  | 'none'
  | 'elects who is not in sync'
  | 'no guard on the version'
  | 'counts what is proposed for true'
  | 'takes unknown for refused'
  | 'takes in who lies behind'
  | 'follows an older epoch'

export interface Bounds {
  epochs: number
  records: number
  crashes: number
  /** Leases that run out under brokers that live. */
  expiries: number
  pending: number
}

interface Led {
  epoch: number
  known: VersionedLeadership
  /** Of a transaction whose outcome is not known. */
  proposed: { version: number; isr: readonly InSyncReplica[] } | null
  /** Gave the topic away: takes no more records. */
  frozen: boolean
  reported: Record<string, { length: number; brokerEpoch: number }>
}

interface Node {
  up: boolean
  brokerEpoch: number
  log: string
  seen: number
  led: Led | null
}

interface Pending {
  owner: string
  version: number
  registrations: [string, number][]
  next: VersionedLeadership
}

export interface World {
  leadership: VersionedLeadership
  registered: Record<string, number>
  nextBrokerEpoch: number
  nodes: Record<string, Node>
  pending: Pending[]
  committed: string
  /** By epoch: the broker and its registration. */
  ledBy: Record<number, string>
  crashes: number
  expiries: number
}

const NODES = ['a', 'b', 'c'] as const

export function firstWorld(): World {
  const leadership = leadershipOf({ version: 1, isr: NODES.map((node, i) => ({ node, brokerEpoch: i + 1 })) })
  const nodes = NODES.map((node, i) => [node, { up: true, brokerEpoch: i + 1, log: '', seen: 0, led: null }] as const)
  return {
    leadership,
    registered: { a: 1, b: 2, c: 3 },
    nextBrokerEpoch: 4,
    nodes: Object.fromEntries(nodes),
    pending: [],
    committed: '',
    ledBy: {},
    crashes: 0,
    expiries: 0,
  }
}

type Step = (world: World) => void

/** A copy whose parts can be changed; a leadership is never changed, only replaced. */
export function copyOf(world: World): World {
  const nodes: World['nodes'] = {}
  for (const name of NODES) {
    const node = world.nodes[name]!
    nodes[name] = { ...node, led: node.led && { ...node.led, reported: { ...node.led.reported } } }
  }
  return {
    ...world,
    registered: { ...world.registered },
    nodes,
    pending: [...world.pending],
    ledBy: { ...world.ledBy },
  }
}

/** The same for worlds that cannot turn out differently: of versions it only matters which are the same. */
export function keyOf(world: World): string {
  const versions = [world.leadership.version]
  const rank = (version: number): number => {
    const at = versions.indexOf(version)
    return at === -1 ? versions.push(version) - 1 : at
  }
  const membersOf = (isr: readonly InSyncReplica[]): string =>
    isr
      .map(({ node, brokerEpoch }) => node + brokerEpoch)
      .sort()
      .join('')
  const valueOf = ({ leader, leaderBrokerEpoch, epoch, isr }: VersionedLeadership): string =>
    `${leader}${leaderBrokerEpoch}.${epoch}.${membersOf(isr)}`
  const nodes = NODES.map((name) => {
    const { up, brokerEpoch, log, seen, led } = world.nodes[name]!
    if (!led) return `${up ? 1 : 0}${brokerEpoch},${log},${seen}`
    const reported = NODES.map((node) => {
      const report = led.reported[node]
      return report ? `${report.length}/${report.brokerEpoch}` : ''
    })
    const known = `${rank(led.known.version)}:${valueOf(led.known)}`
    const proposed = led.proposed ? `${rank(led.proposed.version)}:${membersOf(led.proposed.isr)}` : ''
    return `${brokerEpoch},${log},${seen},${led.epoch},${known},${proposed},${led.frozen},${reported.join()}`
  })
  const pending = world.pending.map(
    ({ owner, version, registrations, next }) => `${owner}${rank(version)}:${registrations.join('')}:${valueOf(next)}`,
  )
  const { leadership, registered, nextBrokerEpoch, committed, ledBy, crashes, expiries } = world
  const led = Object.entries(ledBy).join('')
  const there = NODES.map((name) => registered[name]).join()
  return [
    valueOf(leadership),
    there,
    nextBrokerEpoch,
    nodes.join('|'),
    pending.join('|'),
    committed,
    led,
    crashes,
    expiries,
  ].join(';')
}

export class ElectionModel {
  readonly #bounds: Bounds
  readonly #flaw: Flaw

  constructor(bounds: Bounds, flaw: Flaw = 'none') {
    this.#bounds = bounds
    this.#flaw = flaw
  }

  /** Everything that can happen next, by name. */
  *steps(world: World): Generator<[string, Step]> {
    for (const name of NODES) {
      const node = world.nodes[name]!
      if (world.registered[name] && (!node.up || world.expiries < this.#bounds.expiries))
        yield [`${name} expires`, expire(name)]
      if (!node.up) {
        if (!world.registered[name]) yield [`${name} starts`, register(name)]
        continue
      }
      if (world.crashes < this.#bounds.crashes) yield [`${name} crashes`, crash(name)]
      if (!world.registered[name]) yield [`${name} registers anew`, register(name)]
      if (hasNews(world, name)) yield [`${name} reads`, read(name)]
      if (world.pending.length < this.#bounds.pending) yield* this.#plans(world, name)
      if (node.led) yield* this.#leads(world, name, node.led)
    }
    for (const i of world.pending.keys()) {
      yield [`transaction ${i} is answered`, (now) => this.#apply(now, i, true)]
      yield [`transaction ${i} is applied, the answer lost`, (now) => this.#apply(now, i, false)]
      yield [`transaction ${i} is lost`, (now) => void now.pending.splice(i, 1)]
    }
  }

  /** Every leader commits what it may; what is wrong then, or null. */
  judge(world: World): string | null {
    for (const name of NODES) {
      const wrong = this.#commit(world, name)
      if (wrong) return wrong
    }
    const { leadership, committed } = world
    for (const { node } of leadership.isr) {
      if (!world.nodes[node]!.log.startsWith(committed)) return `R-CANDIDATE: ${node} is in sync without ${committed}`
    }
    for (const name of NODES) {
      const led = world.nodes[name]!.led
      if (led?.epoch !== leadership.epoch) continue
      const believed = this.#maximal(led)
      const unseen = leadership.isr.find(({ node }) => !believed.includes(node))
      if (unseen) return `R-SUPERSET: ${name} leads and does not count ${unseen.node}`
    }
    return null
  }

  *#plans(world: World, name: string): Generator<[string, Step]> {
    const { leadership, registered, nodes } = world
    if (leadership.epoch >= this.#bounds.epochs) return
    if (registered[name] !== nodes[name]!.brokerEpoch) return
    if (world.pending.some(({ owner }) => owner === name)) return
    const brokers = brokersOf(Object.fromEntries(Object.entries(registered).filter(([, epoch]) => epoch > 0)))
    const isr = leadership.isr.some(({ node }) => node === name)
      ? leadership.isr
      : [...leadership.isr, { node: name, brokerEpoch: registered[name]! }]
    const seen = this.#flaw === 'elects who is not in sync' ? { ...leadership, isr } : leadership
    const plan = elect(seen, brokers, 'fsync', name, 'n')
    if (plan) yield [`${name} stands for election`, this.#send(name, plan)]
  }

  *#leads(world: World, name: string, led: Led): Generator<[string, Step]> {
    const node = world.nodes[name]!
    if (!led.frozen && node.log.length < this.#bounds.records) {
      yield [`${name} appends`, (now) => void (now.nodes[name]!.log += String(led.epoch))]
    }
    for (const other of NODES) {
      const follower = world.nodes[other]!
      if (other === name || !follower.up) continue
      const accepts = follower.seen <= led.epoch || this.#flaw === 'follows an older epoch'
      if (accepts && !hasAll(world, name, other)) yield [`${other} follows ${name}`, follow(name, other)]
    }
    if (led.proposed || led.frozen || world.pending.length >= this.#bounds.pending) return
    for (const other of NODES) if (other !== name) yield* this.#proposes(world, name, led, other)
  }

  /** Puts the other one in or out, or gives it the topic. */
  *#proposes(world: World, name: string, led: Led, other: string): Generator<[string, Step]> {
    const { known } = led
    const brokers = brokersOf(Object.fromEntries(Object.entries(world.registered).filter(([, epoch]) => epoch > 0)))
    const report = led.reported[other]
    const member = known.isr.find(({ node }) => node === other)
    if (member) {
      const isr = known.isr.filter((one) => one !== member)
      yield [`${name} puts ${other} out`, this.#propose(name, changeInSync(known, isr, 'n'), isr)]
    }
    const isCaughtUp = report && report.length >= Math.max(hwOf(world, name, this.#maximal(led)), startOf(world, name))
    if (
      report &&
      (isCaughtUp || this.#flaw === 'takes in who lies behind') &&
      member?.brokerEpoch !== report.brokerEpoch
    ) {
      const isr = [...known.isr.filter((one) => one !== member), { node: other, brokerEpoch: report.brokerEpoch }]
      yield [`${name} takes ${other} in`, this.#propose(name, changeInSync(known, isr, 'n'), isr)]
    }
    if (known.epoch >= this.#bounds.epochs || report?.length !== world.nodes[name]!.log.length) return
    const plan = handOver(known, brokers, other, 'n')
    const send = plan && this.#send(name, plan)
    if (send)
      yield [
        `${name} hands over to ${other}`,
        (now) => {
          now.nodes[name]!.led!.frozen = true
          send(now)
        },
      ]
  }

  #propose(name: string, plan: Plan, isr: readonly InSyncReplica[]): Step {
    const send = this.#send(name, plan)
    return (world) => {
      world.nodes[name]!.led!.proposed = { version: plan.version, isr }
      send(world)
    }
  }

  /** What the real plan demands and writes, on its way. */
  #send(owner: string, plan: Plan): Step {
    const registrations = plan.guards.flatMap((guard): [string, number][] =>
      'createRevision' in guard ? [[guard.key.slice('brokers/'.length), guard.createRevision]] : [],
    )
    const versions = plan.guards.flatMap((guard) => ('modRevision' in guard ? [guard.modRevision] : []))
    const version = this.#flaw === 'no guard on the version' ? -1 : versions[0]!
    const next = { ...plan.leadership, version: 0, nonce: 'n' }
    return (world) => void world.pending.push({ owner, version, registrations, next })
  }

  #apply(world: World, i: number, isAnswered: boolean): void {
    const [{ owner, version, registrations, next }] = world.pending.splice(i, 1) as [Pending]
    const holds =
      (version === -1 || version === world.leadership.version) &&
      registrations.every(([node, epoch]) => (world.registered[node] ?? 0) === epoch)
    if (holds) world.leadership = { ...next, version: world.leadership.version + 1 }
    const led = world.nodes[owner]!.led
    if (isAnswered) read(owner)(world)
    else if (this.#flaw === 'takes unknown for refused' && led) led.proposed = null
  }

  #commit(world: World, name: string): string | null {
    const node = world.nodes[name]!
    if (!node.up || !node.led) return null
    const hw = hwOf(world, name, this.#maximal(node.led))
    const mine = node.log.slice(0, hw)
    const { committed } = world
    if (!mine.startsWith(committed) && !committed.startsWith(mine))
      return `R-COMPLETE: ${name} commits ${mine} beside ${committed}`
    if (mine.length > committed.length) world.committed = mine
    const before = world.ledBy[node.led.epoch]
    const who = `${name}/${node.brokerEpoch}`
    if (before !== undefined && before !== who) return `R-ONE: ${before} and ${who} lead in epoch ${node.led.epoch}`
    world.ledBy[node.led.epoch] = who
    return null
  }

  /** Whom the leader waits for. */
  #maximal(led: Led): string[] {
    const proposed = led.proposed?.isr ?? []
    const known = this.#flaw === 'counts what is proposed for true' && led.proposed ? [] : led.known.isr
    return [...new Set([...known, ...proposed].map(({ node }) => node))]
  }
}

function hwOf(world: World, name: string, maximal: readonly string[]): number {
  const { log, led } = world.nodes[name]!
  return Math.min(
    log.length,
    ...maximal.filter((node) => node !== name).map((node) => led!.reported[node]?.length ?? 0),
  )
}

/** Where the leader's epoch begins in its log. */
function startOf(world: World, name: string): number {
  const { log, led } = world.nodes[name]!
  const at = log.indexOf(String(led!.epoch))
  return at === -1 ? log.length : at
}

function crash(name: string): Step {
  return (world) => {
    world.crashes++
    Object.assign(world.nodes[name]!, { up: false, led: null })
  }
}

function expire(name: string): Step {
  return (world) => {
    if (world.nodes[name]!.up) world.expiries++
    world.registered[name] = 0
  }
}

function register(name: string): Step {
  return (world) => {
    const brokerEpoch = world.nextBrokerEpoch++
    world.registered[name] = brokerEpoch
    Object.assign(world.nodes[name]!, { up: true, brokerEpoch, led: null })
  }
}

function leads({ leadership }: World, name: string, { brokerEpoch }: Node): boolean {
  return leadership.leader === name && leadership.leaderBrokerEpoch === brokerEpoch
}

function hasNews(world: World, name: string): boolean {
  const node = world.nodes[name]!
  return leads(world, name, node) ? node.led?.known.version !== world.leadership.version : node.led !== null
}

function hasAll(world: World, leader: string, name: string): boolean {
  const { log, led } = world.nodes[leader]!
  const node = world.nodes[name]!
  const report = led!.reported[name]
  const isReported = report?.length === log.length && report.brokerEpoch === node.brokerEpoch
  return isReported && node.log === log && node.seen >= led!.epoch && node.led === null
}

/** It learns what the store has: that it leads, that it leads no more, how its proposal ended. */
function read(name: string): Step {
  return (world) => {
    const node = world.nodes[name]!
    const { leadership } = world
    if (!node.up) return
    if (!leads(world, name, node)) node.led = null
    else if (node.led?.epoch !== leadership.epoch) {
      node.led = { epoch: leadership.epoch, known: leadership, proposed: null, frozen: false, reported: {} }
      node.seen = Math.max(node.seen, leadership.epoch)
    } else {
      const { led } = node
      led.known = leadership
      if (led.proposed && led.proposed.version !== leadership.version) led.proposed = null
    }
  }
}

/** It copies all that the leader has, on stable storage, and says so. */
function follow(leader: string, name: string): Step {
  return (world) => {
    const from = world.nodes[leader]!
    const node = world.nodes[name]!
    Object.assign(node, { log: from.log, seen: Math.max(node.seen, from.led!.epoch), led: null })
    from.led!.reported[name] = { length: from.log.length, brokerEpoch: node.brokerEpoch }
  }
}
