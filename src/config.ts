/**
 * Every setting of the broker, once: its name, what values it takes, its default, what it is for. From
 * this one table come the flags (`--kebab-case`), the environment (`TIDINGS_UPPER_SNAKE`), the keys of the
 * config file (camelCase) and the help. A flag wins over the environment, that over the file, that
 * over the default. Pure; called by cli/serve-line.ts.
 */
import { LIMITS } from '@tidings/sdk/protocol'
import { isLoopback } from './base/loopback.ts'
import { clusterProblem, endpointsFrom, isKeyPrefix, originOf } from './cluster/cluster-settings.ts'

interface Kind<T> {
  /** What a value looks like, for errors and help. */
  readonly shape: string
  /** From text (flag, environment) or from JSON (file); undefined: not such a value. */
  fromText(text: string): T | undefined
  fromJson(value: unknown): T | undefined
}

interface Setting<T> {
  readonly kind: Kind<T>
  readonly default: T
  readonly help: string
  /** Its value is in no message. */
  readonly isSecret?: true
}

function integer(least: number, most: number): Kind<number> {
  const check = (value: unknown): number | undefined =>
    typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most ? value : undefined
  return {
    shape: `a whole number from ${least} to ${most}`,
    fromText: (text) => (/^\d{1,16}$/.test(text) ? check(Number(text)) : undefined),
    fromJson: check,
  }
}

const text: Kind<string> = {
  shape: 'a text that is not empty',
  fromText: (value) => (value === '' ? undefined : value),
  fromJson: (value) => (typeof value === 'string' && value !== '' ? value : undefined),
}

const truth: Kind<boolean> = {
  shape: 'true or false',
  fromText: (value) => (value === 'true' ? true : value === 'false' ? false : undefined),
  fromJson: (value) => (typeof value === 'boolean' ? value : undefined),
}

const NODE_ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/
const nodeName: Kind<string> = {
  shape: '1 to 63 of A-Z a-z 0-9 . _ -, a letter or digit first',
  fromText: (value) => (NODE_ID.test(value) ? value : undefined),
  fromJson: (value) => (typeof value === 'string' && NODE_ID.test(value) ? value : undefined),
}

const endpoints: Kind<string[]> = {
  shape:
    'URLs such as http://10.0.0.1:2379, without credentials or a path, with commas between them, all http or all https',
  fromText: (value) => endpointsFrom(value.split(',').map((part) => part.trim())),
  fromJson: (value) => (Array.isArray(value) ? endpointsFrom(value) : undefined),
}

const url: Kind<string> = {
  shape: 'a URL such as http://10.0.0.1:7070, without credentials or a path',
  fromText: originOf,
  fromJson: (value) => (typeof value === 'string' ? originOf(value) : undefined),
}

const keyPrefix: Kind<string> = {
  shape: 'a prefix of keys such as /tidings/, with a slash at both ends, of A-Z a-z 0-9 . _ ~ - and /',
  fromText: (value) => (isKeyPrefix(value) ? value : undefined),
  fromJson: (value) => (typeof value === 'string' && isKeyPrefix(value) ? value : undefined),
}

function oneOf<const T extends readonly string[]>(values: T): Kind<T[number]> {
  const check = (value: unknown): T[number] | undefined => values.find((known) => known === value)
  return { shape: `one of ${values.join(', ')}`, fromText: check, fromJson: check }
}

const ORIGIN = /^[a-z][a-z0-9+.-]*:\/\/[^\s/?#,]+$/i
const origins: Kind<string[]> = {
  shape: 'origins such as https://app.example.com, with commas between them',
  fromText: (value) => originList(value === '' ? [] : value.split(',').map((part) => part.trim())),
  fromJson: (value) => (Array.isArray(value) ? originList(value) : undefined),
}

function originList(values: unknown[]): string[] | undefined {
  return values.every((value): value is string => typeof value === 'string' && ORIGIN.test(value)) ? values : undefined
}

const HOST = /^([a-z0-9]([a-z0-9_-]*[a-z0-9])?)(\.[a-z0-9]([a-z0-9_-]*[a-z0-9])?)*$|^\[[0-9a-f:.]+\]$/i
const hosts: Kind<string[]> = {
  shape: 'names such as tidings.example.com, without a port, with commas between them',
  fromText: (value) => hostList(value === '' ? [] : value.split(',').map((part) => part.trim())),
  fromJson: (value) => (Array.isArray(value) ? hostList(value) : undefined),
}

function hostList(values: unknown[]): string[] | undefined {
  return values.every((value): value is string => typeof value === 'string' && HOST.test(value)) ? values : undefined
}

function setting<T>(kind: Kind<T>, value: T, help: string): Setting<T> {
  return { kind, default: value, help }
}

const MIB = 1_048_576
const MS_MAX = LIMITS.delayMs
const LOG_LEVELS = ['debug', 'info', 'warn', 'error', 'silent'] as const

export const SETTINGS = {
  host: setting(text, '127.0.0.1', 'address to listen on'),
  port: setting(integer(0, 65_535), 7070, 'port to listen on; 0 takes a free one'),
  dataDir: setting(text, './data', 'directory that holds everything the broker keeps'),
  autoCreateTopics: setting(truth, true, 'create a topic when it is first published or subscribed to'),
  maxTopics: setting(integer(1, 10_000_000), 10_000, 'topics at once; the creation of more is refused'),
  maxMessageBytes: setting(
    integer(1, LIMITS.messageBytesCeiling),
    LIMITS.messageBytesCeiling,
    'no message is larger, whatever its topic allows',
  ),
  drainMs: setting(integer(0, MS_MAX), 10_000, 'longest time to finish what is in flight before the exit'),
  insecure: setting(truth, false, 'listen on an address that others reach, without access control'),
  allowedOrigins: setting(origins, [], 'origins of browser pages that may use the broker'),
  allowedHosts: setting(
    hosts,
    [],
    'names by which a broker that binds loopback may be asked, beside those without a dot',
  ),
  logLevel: setting(oneOf(LOG_LEVELS), 'info', 'least severity that is logged'),
  nodeId: setting(nodeName, 'node-1', 'name of this node'),
  maxQueuedBytes: setting(
    integer(MIB, 2 ** 40),
    64 * MIB,
    'messages of one partition waiting for the disk; past it publishers get 503',
  ),
  maxReceivingBytes: setting(
    integer(MIB, 2 ** 40),
    256 * MIB,
    'request bodies still coming in; past it publishers get 503',
  ),
  tailCacheBytes: setting(integer(0, 2 ** 40), 64 * MIB, 'memory for the messages published lately'),
  rememberedBytes: setting(
    integer(MIB, 2 ** 40),
    1024 * MIB,
    'memory for idempotency keys and producers; past it new ones get 503',
  ),
  reserveBytes: setting(integer(0, 2 ** 50), 64 * MIB, 'disk space that publishes leave free'),
  maxConnections: setting(integer(1, 1_000_000), 10_000, 'connections at once; more are refused'),
  consumerWriteTimeoutMs: setting(
    integer(1, MS_MAX),
    10_000,
    'a consumer that reads nothing for so long is disconnected',
  ),
  requestTimeoutMs: setting(integer(1, MS_MAX), 30_000, 'longest time in which a request must have arrived'),
  headersTimeoutMs: setting(integer(1, MS_MAX), 10_000, 'the same for its headers'),
  etcd: setting(endpoints, [], 'endpoints of etcd: this is a node of a cluster'),
  etcdPrefix: setting(keyPrefix, '/tidings/', 'what every key in etcd starts with'),
  etcdUser: setting<string | null>(text, null, 'name of a user of etcd whose role reads and writes under the prefix'),
  etcdPassword: { ...setting<string | null>(text, null, 'its password'), isSecret: true as const },
  etcdCa: setting<string | null>(text, null, 'file with the certificates of authorities that etcd is signed by'),
  etcdCert: setting<string | null>(text, null, 'file with the certificate that is shown to etcd'),
  etcdKey: setting<string | null>(text, null, 'file with its key'),
  advertise: setting<string | null>(url, null, 'URL under which the other nodes and clients reach this one'),
  peerHost: setting<string | null>(text, null, 'address on which other brokers reach this one; that of --host without'),
  peerPort: setting(integer(0, 65_535), 7071, 'port for other brokers; 0 takes a free one'),
  peerCa: setting<string | null>(text, null, 'file with the certificates of authorities that brokers are signed by'),
  peerCert: setting<string | null>(
    text,
    null,
    'file with the certificate that this broker shows to others: its name is --node-id',
  ),
  peerKey: setting<string | null>(text, null, 'file with its key'),
  rack: setting<string | null>(text, null, 'what fails together with this node: copies are spread over racks'),
  leaseMs: setting(integer(1000, 60_000), 5000, 'a broker that is not heard of for so long is taken for dead'),
  replicaLagMs: setting(integer(500, 600_000), 3000, 'a copy that is so far behind does not count as in sync'),
  defaultReplicationFactor: setting(
    integer(1, LIMITS.replicationFactor),
    3,
    'copies of a topic whose maker does not say, in a cluster',
  ),
  defaultMinInSyncReplicas: setting(
    integer(1, LIMITS.replicationFactor),
    2,
    'copies that must be in sync for a publish to be taken, where its maker does not say',
  ),
}

type SettingName = keyof typeof SETTINGS
type ValueOf<S> = S extends Setting<infer T> ? T : never
export type Config = { readonly [N in SettingName]: ValueOf<(typeof SETTINGS)[N]> }

/** A configuration that cannot be used; the message is one line that names the culprit. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
}

/** What was given, by setting name: text from flags and environment, anything from the file. */
export interface ConfigSources {
  flags: ReadonlyMap<string, string>
  env: Readonly<Record<string, string | undefined>>
  /** The config file's content, already parsed. */
  file: unknown
}

/** The whole configuration. Throws ConfigError for an unknown file key or a bad value. */
export function resolveConfig({ flags, env, file }: ConfigSources): Config {
  const fileValues = fileObject(file)
  const values: Record<string, unknown> = {}
  const given = new Set<string>()
  for (const [name, setting] of settings()) {
    const { kind } = setting
    const variable = variableOf(name)
    const flag = flags.get(name)
    const fromEnv = env[variable]
    given.add(name)
    if (flag !== undefined) values[name] = valid(setting, kind.fromText(flag), `--${flagOf(name)}`, flag)
    else if (fromEnv !== undefined) values[name] = valid(setting, kind.fromText(fromEnv), variable, fromEnv)
    else if (Object.hasOwn(fileValues, name)) {
      const value = fileValues[name]
      values[name] = valid(setting, kind.fromJson(value), `config file key "${name}"`, JSON.stringify(value))
    } else {
      values[name] = setting.default
      given.delete(name)
    }
  }
  const config = Object.freeze(values as Config)
  const problem = clusterProblem(config, given)
  if (problem !== null) throw new ConfigError(problem)
  return config
}

/** Refuses an address that others reach while nothing protects the broker. */
export function checkExposure(config: Config): void {
  if (config.insecure) return
  const peerHost = config.peerHost ?? config.host
  if (config.etcd.length > 0 && config.peerCert === null && !isLoopback(peerHost)) {
    throw new ConfigError(
      `--peer-host ${peerHost}: whoever reaches it can pose as a broker; give certificates (--peer-ca, --peer-cert, --peer-key), or --insecure to do without`,
    )
  }
  if (isLoopback(config.host)) return
  throw new ConfigError(
    `--host ${config.host}: the broker has no authentication or TLS yet and binds loopback only; give --insecure to listen there all the same`,
  )
}

export function isSetting(name: string): name is SettingName {
  return Object.hasOwn(SETTINGS, name)
}

/** Whether the setting is one that a bare flag turns on. */
export function isSwitch(name: SettingName): boolean {
  return (SETTINGS[name].kind as Kind<unknown>) === truth
}

/** `dataDir` → `data-dir` */
export function flagOf(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
}

/** `data-dir` → `dataDir`; null for what is no kebab case. */
export function nameOfFlag(flag: string): string | null {
  if (!/^[a-z]+(-[a-z]+)*$/.test(flag)) return null
  return flag.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase())
}

/** `dataDir` → `TIDINGS_DATA_DIR` */
export function variableOf(name: string): string {
  return `TIDINGS_${flagOf(name).replaceAll('-', '_').toUpperCase()}`
}

export function settingsHelp(): string {
  const lines = settings().map(([name, { default: value, help }]) => {
    const shown = (value ?? []) as string | number | boolean | string[]
    const text = String(shown) || 'none'
    return `  --${flagOf(name).padEnd(26)} ${help} (${text})`
  })
  return lines.join('\n')
}

function settings(): [SettingName, Setting<unknown>][] {
  return Object.entries(SETTINGS) as [SettingName, Setting<unknown>][]
}

function fileObject(file: unknown): Record<string, unknown> {
  if (file === undefined) return {}
  if (typeof file !== 'object' || file === null || Array.isArray(file)) {
    throw new ConfigError('the config file must hold one JSON object')
  }
  const unknown = Object.keys(file).find((name) => !isSetting(name))
  if (unknown !== undefined) throw new ConfigError(`unknown config file key ${JSON.stringify(unknown)}`)
  return file as Record<string, unknown>
}

function valid<T>({ kind, isSecret }: Setting<T>, value: T | undefined, where: string, shown: string): T {
  if (value !== undefined) return value
  // What stands before an @ in a URL may be a password, whatever the setting is.
  const isShown = isSecret !== true && !shown.includes('@')
  throw new ConfigError(`${where}: ${isShown ? JSON.stringify(shown) : 'the value'} is not ${kind.shape}`)
}
