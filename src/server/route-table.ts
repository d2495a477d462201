/** The routes by path: which methods a path knows, for 405 and for the test that all are described. */

interface Path {
  pattern: RegExp
  methods: Set<string>
}

export class RouteTable {
  readonly #paths = new Map<string, Path>()

  /** `url` as fastify spells it: `/v1/topics/:topic`. */
  add(method: string | string[], url: string): void {
    let path = this.#paths.get(url)
    if (!path) {
      const escaped = url.replace(/[.*+?^${}()|[\]\\]/g, '\\$&').replace(/:[a-zA-Z]+/g, '[^/]+')
      path = { pattern: new RegExp(`^${escaped}$`), methods: new Set() }
      this.#paths.set(url, path)
    }
    for (const name of [method].flat()) path.methods.add(name)
  }

  /** The methods of a concrete path, sorted; none when no route is there. */
  methodsOf(path: string): string[] {
    const methods = new Set<string>()
    for (const known of this.#paths.values()) {
      if (known.pattern.test(path)) for (const method of known.methods) methods.add(method)
    }
    return [...methods].sort()
  }

  /** Every route as `METHOD /path/{parameter}`, sorted. */
  list(): string[] {
    const all: string[] = []
    for (const [url, { methods }] of this.#paths) {
      for (const method of methods) all.push(`${method} ${url.replace(/:([a-zA-Z]+)/g, '{$1}')}`)
    }
    return all.sort()
  }
}
