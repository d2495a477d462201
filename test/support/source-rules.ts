/**
 * The rules that hold the shape of the source, as tables: layers, who may use which outside module and
 * which global, file sizes and names, where the protocol's strings may stand. Pure: paths and texts in,
 * sentences about what is wrong out. `test/tidy.test.ts` runs it over the repository and over small samples.
 */
import {
  CLOUDEVENTS_PREFIX,
  HEADER,
  KEPT_HEADERS,
  MESSAGE_HEADER_PREFIX,
  NDJSON_CONTENT_TYPE,
  PROBLEM_CONTENT_TYPE,
} from '@tidings/sdk/protocol'
import { readSource, type SourceText } from './source-text.ts'

export interface SourceFile {
  /** From the repository's root, with `/`. */
  path: string
  text: string
}

export const MAX_LINES = 400
const PROTOCOL = '@tidings/sdk/protocol'

/** From the lowest to the highest; a file imports from its own layer and from those below. */
const LAYERS: readonly { name: string; holds: RegExp }[] = [
  { name: 'protocol', holds: /^sdk\/src\/protocol\// },
  { name: 'base', holds: /^src\/base\// },
  { name: 'log', holds: /^src\/log\// },
  { name: 'partition', holds: /^src\/partition\// },
  { name: 'subscription', holds: /^src\/subscription\// },
  { name: 'cluster', holds: /^src\/cluster\// },
  { name: 'server', holds: /^src\/server\// },
  { name: 'broker', holds: /^src\/(broker|config)\.ts$/ },
  { name: 'cli', holds: /^src\/cli\// },
  { name: 'main', holds: /^src\/[^/]+\.ts$/ },
  // Ships beside the broker, which knows nothing of it.
  { name: 'testing', holds: /^src\/testing\// },
]

/** Every outside module that the broker uses, and the files that may. One that is not here has no owner and is refused. */
const MODULE_OWNERS: Readonly<Record<string, RegExp>> = {
  '@tidings/sdk': /^src\/(cli|testing)\//,
  'node:fs': /^src\/(base\/node-disk|main|cli\/[a-z-]+)\.ts$/,
  'node:path': /^src\/(base\/node-disk|cli\/[a-z-]+)\.ts$/,
  'node:readline': /^src\/cli\/terminal\.ts$/,
  'node:worker_threads': /^src\/cli\/terminal\.ts$/,
  'node:crypto': /^src\/(base\/(clock|content-hash)|testing\/sim-random)\.ts$/,
  nanoid: /^src\/base\/clock\.ts$/,
  'node:zlib': /^src\/(log\/|cluster\/sqlite-coordinator\.ts$|testing\/sim-disk\.ts$)/,
  'node:module': /^src\/base\/on-demand\.ts$/,
  'node:process': /^src\/testing\//,
  'node:timers': /^src\/testing\//,
  'node:util': /^src\//,
  'node:buffer': /^src\//,
  'node:http': /^src\/server\//,
  'node:net': /^src\/(server\/forwarding|cluster\/tcp-network)\.ts$/,
  'node:stream': /^src\/server\//,
  'node:perf_hooks': /^src\/server\/metrics\.ts$/,
  '@bufbuild/cel': /^src\/subscription\/cel\.ts$/,
  '@bufbuild/re2': /^src\/base\/re2\.ts$/,
  ajv: /^src\/partition\/schema\.ts$/,
  'ajv-formats': /^src\/partition\/schema\.ts$/,
  'better-sqlite3': /^src\/cluster\/sqlite-coordinator\.ts$/,
  fastify: /^src\/server\//,
  '@fastify/swagger': /^src\/server\//,
  '@fastify/websocket': /^src\/server\//,
  ws: /^(src\/server\/|sdk\/src\/node-platform\.ts$)/,
  // Types only.
  '@standard-schema/spec': /^sdk\/src\/[a-z-]+\.ts$/,
  undici: /^(sdk\/src\/node-platform|src\/cluster\/etcd-http)\.ts$/,
  'node:tls': /^src\/cluster\/(etcd-http|tcp-network)\.ts$/,
  pino: /^src\/server\/[a-z-]+\.ts$/,
  'prom-client': /^src\/server\//,
}

const TIMER_OWNERS = /^(src\/base\/clock|sdk\/src\/(system-clock|node-platform|browser-asking))\.ts$/

/** What is taken from the air, and the files that may. `new Date(ms)` only formats and is free. */
const GLOBAL_OWNERS: readonly { what: string; pattern: RegExp; owners: RegExp }[] = [
  { what: 'Date.now()', pattern: /\bDate\s*\.\s*now\b/, owners: /^(src\/base\/clock|sdk\/src\/system-clock)\.ts$/ },
  { what: 'new Date() without an argument', pattern: /\bnew\s+Date\s*(?:\(\s*\)|(?!\s*\())/, owners: /^$/ },
  { what: 'a timer', pattern: /(?<![.\w])set(?:Timeout|Interval)\s*\(/, owners: TIMER_OWNERS },
  {
    what: 'performance',
    pattern: /(?<![.\w])performance\s*\./,
    owners: /^(src\/base\/clock|sdk\/src\/system-clock)\.ts$/,
  },
  { what: 'Math.random', pattern: /\bMath\s*\.\s*random\b/, owners: /^$/ },
  { what: 'crypto', pattern: /(?<![.\w])crypto\s*\./, owners: /^sdk\/src\/system-clock\.ts$/ },
  { what: 'process', pattern: /(?<![.\w])process\s*\.(?!\.)/, owners: /^src\/(main|cli\/(serve|terminal))\.ts$/ },
  { what: 'console', pattern: /(?<![.\w])console\s*\./, owners: /^$/ },
  { what: 'fetch', pattern: /(?<![.\w])fetch\s*\(/, owners: /^(sdk\/src\/browser-asking|src\/cli\/broker-api)\.ts$/ },
  // The SDK is one source for Node and browsers; what only one of them has stands in its platform's file.
  { what: 'Buffer', pattern: /(?<![.\w])Buffer\s*\./, owners: /^(src\/|sdk\/src\/node-platform\.ts$)/ },
]

/** Drawers: names under which anything can be put, so that everything is. */
const DRAWER = /(^|[/-])(utils?|helpers?|common|misc|managers?|services?|types?|shared|stuff|lib)\.ts$/
const BARRELS = /^sdk\/src\/(index|protocol\/index)\.ts$/

const READS_ERROR_TEXT =
  /\b(?:message|stack)\s*\??\.\s*(?:includes|startsWith|endsWith|match|indexOf|search)\s*\(|\.test\(\s*[\w.]*\.message\b/

const PROTOCOL_STRINGS: ReadonlySet<string> = new Set<string>([
  ...Object.values(HEADER),
  ...KEPT_HEADERS,
  MESSAGE_HEADER_PREFIX,
  CLOUDEVENTS_PREFIX,
  NDJSON_CONTENT_TYPE,
  PROBLEM_CONTENT_TYPE,
])
const PROTOCOL_SHAPE = /^(?:tidings-[a-z-]+|tidings\.(?:json|binary)\.v\d+|urn:tidings:.*)$/i

export interface Verdict {
  problems: string[]
  files: number
  imports: number
  /** The largest files, largest first. */
  largest: { path: string; lines: number }[]
}

/** Everything that is wrong with these files, one sentence each. */
export function judge(files: readonly SourceFile[]): Verdict {
  const read = new Map(files.map((file) => [file.path, readSource(file.text)]))
  const problems: string[] = []
  const edges = new Map<string, string[]>()
  let imports = 0
  for (const { path, text } of files) {
    const source = read.get(path)!
    imports += source.imports.length
    problems.push(...shapeProblems(path, text), ...wordProblems(path, source))
    edges.set(
      path,
      source.imports.filter(isRelative).map((specifier) => resolve(path, specifier)),
    )
    for (const specifier of source.imports) problems.push(...importProblems(path, specifier, read))
  }
  problems.push(...cycleProblems(edges))
  const largest = files
    .map((file) => ({ path: file.path, lines: lineCount(file.text) }))
    .sort((a, b) => b.lines - a.lines)
    .slice(0, 10)
  return { problems, files: files.length, imports, largest }
}

function shapeProblems(path: string, text: string): string[] {
  const problems: string[] = []
  const lines = lineCount(text)
  if (lines > MAX_LINES) problems.push(`${path} has ${lines} lines, more than ${MAX_LINES}: which idea is missing?`)
  if (DRAWER.test(path)) problems.push(`${path} is the name of a drawer: name the one thing it holds`)
  if (path.endsWith('/index.ts') && !BARRELS.test(path)) problems.push(`${path}: barrels only at a package's entry`)
  if (!/^[a-z0-9]+(-[a-z0-9]+)*\.ts$/.test(path.slice(path.lastIndexOf('/') + 1))) {
    problems.push(`${path}: file names are kebab-case`)
  }
  if (!text.replace(/^#!.*\n/, '').startsWith('/**'))
    problems.push(`${path} does not begin with a comment on what it is`)
  if (layerOf(path) === -1 && !path.startsWith('sdk/src/')) problems.push(`${path} is in no layer`)
  return problems
}

function wordProblems(path: string, source: SourceText): string[] {
  const problems: string[] = []
  for (const { what, pattern, owners } of GLOBAL_OWNERS) {
    if (pattern.test(source.code) && !owners.test(path))
      problems.push(`${path} uses ${what}: it is handed in, as a port`)
  }
  if (READS_ERROR_TEXT.test(source.code)) problems.push(`${path} reads the text of an error: errors have codes`)
  if (!path.startsWith('sdk/src/protocol/')) {
    for (const text of source.strings) {
      if (PROTOCOL_STRINGS.has(text.toLowerCase()) || PROTOCOL_SHAPE.test(text)) {
        problems.push(`${path} spells '${text}': the protocol's strings stand only in sdk/src/protocol`)
      }
    }
  }
  return problems
}

function importProblems(path: string, specifier: string, known: ReadonlyMap<string, SourceText>): string[] {
  if (isRelative(specifier)) {
    const target = resolve(path, specifier)
    if (!known.has(target)) return [`${path} imports ${specifier}, which is no source file`]
    return layerProblems(path, target)
  }
  if (specifier === PROTOCOL) return layerProblems(path, 'sdk/src/protocol/index.ts')
  const owners = MODULE_OWNERS[moduleOf(specifier)]
  if (!owners) return [`${path} imports ${specifier}, which has no owner: see MODULE_OWNERS`]
  return owners.test(path) ? [] : [`${path} imports ${specifier}, which belongs to ${owners.source}`]
}

function layerProblems(path: string, target: string): string[] {
  const from = layerOf(path)
  const to = layerOf(target)
  if (from === -1 || to === -1 || to <= from) return []
  return [`${path} (${LAYERS[from]!.name}) imports ${target} (${LAYERS[to]!.name}): imports go only downwards`]
}

function layerOf(path: string): number {
  return LAYERS.findIndex((layer) => layer.holds.test(path))
}

function isRelative(specifier: string): boolean {
  return specifier.startsWith('.')
}

/** `node:fs/promises` → `node:fs`, `@a/b/c` → `@a/b`. */
function moduleOf(specifier: string): string {
  return specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/')
}

function resolve(from: string, specifier: string): string {
  const parts = from.split('/').slice(0, -1)
  for (const part of specifier.split('/')) {
    if (part === '..') parts.pop()
    else if (part !== '.') parts.push(part)
  }
  return parts.join('/')
}

function lineCount(text: string): number {
  return text.split('\n').length - (text.endsWith('\n') ? 1 : 0)
}

/** One sentence for each cycle found by a depth-first walk; imports of types count as well. */
function cycleProblems(edges: ReadonlyMap<string, readonly string[]>): string[] {
  const problems: string[] = []
  const done = new Set<string>()
  const open: string[] = []
  const walk = (path: string): void => {
    if (done.has(path)) return
    const at = open.indexOf(path)
    if (at !== -1) {
      problems.push(`imports go in a circle: ${[...open.slice(at), path].join(' → ')}`)
      return
    }
    open.push(path)
    for (const next of edges.get(path) ?? []) walk(next)
    open.pop()
    done.add(path)
  }
  for (const path of edges.keys()) walk(path)
  return problems
}
