/**
 * The directories of the simulated disk: the tree that programs see, the tree on the platter, and the
 * creations, renames and removals between the two, in order. Syncing a directory commits the
 * operations on its entries; a power cut keeps any of the rest that can be there without the others:
 * an operation needs the earlier ones on the same names, a removed directory the ones inside it,
 * and a rename into another directory the ones that put that directory where it is.
 * A rename is kept whole or not at all.
 */
import type { SimFile, Survival } from './sim-file.ts'
import type { SimRandom } from './sim-random.ts'

export class SimDirectory {
  readonly kind = 'directory'
  /** As programs see it. */
  entries = new Map<string, SimNode>()
  /** As the platter has it. */
  platter = new Map<string, SimNode>()
  parent: SimDirectory | null = null
}

export type SimNode = SimFile | SimDirectory

/** A name in a directory: where something is put, taken from, or moved between. */
interface Place {
  directory: SimDirectory
  name: string
}

interface NameOperation {
  /** Its place in the order of all such operations. */
  at: number
  node: SimNode
  from: Place | null
  to: Place | null
  needs: NameOperation[]
}

export class SimNames {
  readonly root = new SimDirectory()
  #pending = new Set<NameOperation>()
  #performed = 0

  /** Operations performed so far; what a directory sync that is issued now must cover. */
  get performed(): number {
    return this.#performed
  }

  put(to: Place, node: SimNode): void {
    this.#record(node, null, to)
  }

  take(from: Place): void {
    this.#record(from.directory.entries.get(from.name)!, from, null)
  }

  /** Whatever stood at `to` is replaced. */
  move(from: Place, to: Place): void {
    this.#record(from.directory.entries.get(from.name)!, from, to)
  }

  #record(node: SimNode, from: Place | null, to: Place | null): void {
    const operation: NameOperation = { at: this.#performed++, node, from, to, needs: [] }
    for (const earlier of this.#pending) if (isNeeded(earlier, operation)) operation.needs.push(earlier)
    this.#pending.add(operation)
    if (from) from.directory.entries.delete(from.name)
    if (to) to.directory.entries.set(to.name, node)
    if (node.kind === 'directory') node.parent = to?.directory ?? null
  }

  /** @param issuedAt `performed` when the sync was asked for; what came since is covered or not. */
  sync(directory: SimDirectory, issuedAt: number, random: SimRandom): void {
    const touching = [...this.#pending].filter((operation) => touches(operation, directory))
    const certain = touching.filter((operation) => operation.at < issuedAt).length
    const concurrent = touching.length - certain
    const covered = concurrent === 0 ? certain : certain + random.integer(concurrent + 1)
    for (const operation of touching.slice(0, covered)) this.#commit(operation)
  }

  #commit(operation: NameOperation): void {
    if (!this.#pending.delete(operation)) return
    for (const needed of operation.needs) this.#commit(needed)
    operation.needs = []
    const { from, to, node } = operation
    if (from) from.directory.platter.delete(from.name)
    if (to) to.directory.platter.set(to.name, node)
  }

  /** The power is gone: commits what survived, forgets the rest, and shows what the platter has. */
  crash(random: SimRandom, survival: Survival): void {
    const pending = [...this.#pending]
    const prefix = random.integer(pending.length + 1)
    const kept = new Set<NameOperation>()
    for (const [index, operation] of pending.entries()) {
      const isKept =
        survival === 'all' ||
        (survival === 'prefix' && index < prefix) ||
        (survival === 'scatter' && random.chance(0.5))
      const isPossible = operation.needs.every((needed) => kept.has(needed) || !this.#pending.has(needed))
      if (isKept && isPossible) kept.add(operation)
    }
    for (const operation of kept) this.#commit(operation)
    this.#pending.clear()
    restore(this.root)
  }

  /** Every file and its path, in the order of their paths, as programs see them. */
  files(): [path: string, file: SimFile][] {
    const found: [string, SimFile][] = []
    const visit = (directory: SimDirectory, prefix: string): void => {
      for (const name of [...directory.entries.keys()].sort()) {
        const node = directory.entries.get(name)!
        if (node.kind === 'file') found.push([prefix + name, node])
        else visit(node, `${prefix}${name}/`)
      }
    }
    visit(this.root, '')
    return found
  }
}

function touches(operation: NameOperation, directory: SimDirectory): boolean {
  return operation.from?.directory === directory || operation.to?.directory === directory
}

function isNeeded(earlier: NameOperation, later: NameOperation): boolean {
  for (const a of [earlier.from, earlier.to]) {
    for (const b of [later.from, later.to]) {
      if (a && b && a.directory === b.directory && a.name === b.name) return true
    }
  }
  const { from, to, node } = later
  if (!to && node.kind === 'directory' && touches(earlier, node)) return true
  const isMoved = from !== null && to !== null && from.directory !== to.directory
  return isMoved && earlier.node.kind === 'directory' && isWithin(to.directory, earlier.node)
}

/** Whether `inner` is `outer` or stands somewhere below it. */
export function isWithin(inner: SimDirectory, outer: SimDirectory): boolean {
  for (let at: SimDirectory | null = inner; at; at = at.parent) if (at === outer) return true
  return false
}

function restore(directory: SimDirectory): void {
  directory.entries = new Map(directory.platter)
  for (const node of directory.entries.values()) {
    if (node.kind !== 'directory') continue
    node.parent = directory
    restore(node)
  }
}
