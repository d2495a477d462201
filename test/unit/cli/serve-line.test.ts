import { describe, expect, it } from 'vitest'
import { isServeLine, readServeLine, type ServeLine } from '../../../src/cli/serve-line.ts'
import { flagOf, nameOfFlag, SETTINGS, variableOf } from '../../../src/config.ts'

const parse = (argv: string[], env: Record<string, string> = {}, files: Record<string, string> = {}): ServeLine =>
  readServeLine(argv, env, (path) => {
    if (!(path in files)) throw new Error('ENOENT')
    return files[path]!
  })

function config(argv: string[], env: Record<string, string> = {}, files: Record<string, string> = {}): object {
  const command = parse(['serve', ...argv], env, files)
  if (command.kind !== 'serve') throw new Error(JSON.stringify(command))
  return command.config
}

describe('the command line of serve', () => {
  it('serves with the defaults', () => {
    expect(config([])).toMatchObject({
      host: '127.0.0.1',
      port: 7070,
      dataDir: './data',
      autoCreateTopics: true,
      drainMs: 10_000,
    })
  })

  it('takes every setting as a flag, from the environment and from the file', () => {
    for (const name of Object.keys(SETTINGS)) {
      expect(nameOfFlag(flagOf(name))).toBe(name)
      expect(variableOf(name)).toMatch(/^TIDINGS_[A-Z_]+$/)
    }
    expect(
      config(['--data-dir', '/a', '--port=0', '--insecure', '--allowed-origins', 'https://a.example,http://b:8080']),
    ).toMatchObject({
      dataDir: '/a',
      port: 0,
      insecure: true,
      allowedOrigins: ['https://a.example', 'http://b:8080'],
    })
    expect(config([], { TIDINGS_AUTO_CREATE_TOPICS: 'false', TIDINGS_PORT: '1' })).toMatchObject({
      autoCreateTopics: false,
      port: 1,
    })
    const files = { 'f.json': '{"maxQueuedBytes": 2000000, "allowedOrigins": ["https://a.example"]}' }
    expect(config(['--config', 'f.json'], {}, files)).toMatchObject({
      maxQueuedBytes: 2_000_000,
      allowedOrigins: ['https://a.example'],
    })
  })

  it('prefers flag to environment to file to default', () => {
    const files = { 'f.json': '{"port": 3, "host": "127.0.0.3", "drainMs": 3}' }
    expect(
      config(['--config=f.json', '--port', '1'], { TIDINGS_PORT: '2', TIDINGS_HOST: '127.0.0.2' }, files),
    ).toMatchObject({
      port: 1,
      host: '127.0.0.2',
      drainMs: 3,
      logLevel: 'info',
    })
    expect(config([], { TIDINGS_CONFIG: 'f.json' }, files)).toMatchObject({ port: 3 })
  })

  it('reads switches with and without a value', () => {
    expect(config(['--insecure', '--host', '0.0.0.0'])).toMatchObject({ insecure: true, host: '0.0.0.0' })
    expect(config(['--auto-create-topics=false'])).toMatchObject({ autoCreateTopics: false })
    expect(config(['--auto-create-topics', 'false', '--port', '9'])).toMatchObject({ autoCreateTopics: false, port: 9 })
  })

  it.each([
    [['--no-such-flag'], {}, '--no-such-flag'],
    [['--etcd', 'http://a'], {}, '--etcd'],
    [['--advertise', 'http://a'], {}, '--advertise'],
    [['--api-keys', 'f'], {}, '--api-keys'],
    [['--dataDir', 'f'], {}, '--dataDir'],
    [['--__proto__', 'f'], {}, '--__proto__'],
    [['--constructor', 'f'], {}, '--constructor'],
    [['-x'], {}, '-x'],
    [['--port'], {}, '--port'],
    [['--port', '70000'], {}, '--port'],
    [['--port', '1e3'], {}, '--port'],
    [['--port='], {}, '--port'],
    [['--insecure=yes'], {}, '--insecure'],
    [['--log-level', 'loud'], {}, '--log-level'],
    [['--allowed-origins', 'example.com'], {}, '--allowed-origins'],
    [['--allowed-hosts', 'https://example.com'], {}, '--allowed-hosts'],
    [['--allowed-hosts', 'example.com:80'], {}, '--allowed-hosts'],
    [['--drain-ms', '-1'], {}, '--drain-ms'],
    [['more'], {}, '"more"'],
    [[], { TIDINGS_PORT: 'tcp://10.0.0.1:7070' }, 'TIDINGS_PORT'],
    [['--config', 'gone.json'], {}, 'gone.json'],
    [['--config', 'broken.json'], {}, 'broken.json'],
    [['--config', 'list.json'], {}, 'one JSON object'],
    [['--config', 'unknown.json'], {}, '"data-dir"'],
    [['--config', 'proto.json'], {}, '"__proto__"'],
    [['--config', 'text-port.json'], {}, '"port"'],
    [['--host', '0.0.0.0'], {}, '--insecure'],
    [['--host', '192.168.1.5'], {}, '--insecure'],
    [['--host', '127.0.0.1.evil.example'], {}, '--insecure'],
    [['--host', '::'], {}, '--insecure'],
  ])('refuses %j %j in one line that names it', (argv, env, named) => {
    const files = {
      'broken.json': '{',
      'list.json': '[]',
      'unknown.json': '{"data-dir": "x"}',
      'proto.json': '{"__proto__": {"port": 1}}',
      'text-port.json': '{"port": "1"}',
    }
    const command = parse(['serve', ...argv], env as Record<string, string>, files)
    expect(command.kind).toBe('refused')
    const { message } = command as { message: string }
    expect(message).toContain(named)
    expect(message).not.toContain('\n')
  })

  const node = ['--node-id', 'a', '--advertise', 'http://a:7070']
  const plain = ['--etcd', 'http://e1:2379, http://e2:2379/']
  const secure = ['--etcd', 'https://e1:2379']

  it('takes what makes it a node of a cluster', () => {
    expect(config([...plain, ...node])).toMatchObject({
      etcd: ['http://e1:2379', 'http://e2:2379'],
      etcdPrefix: '/tidings/',
      etcdUser: null,
      nodeId: 'a',
      advertise: 'http://a:7070',
    })
    const env = { TIDINGS_ETCD_PASSWORD: 's3cret', TIDINGS_ETCD_USER: 'tidings' }
    const more = ['--etcd-ca', 'ca', '--etcd-cert', 'cert', '--etcd-key', 'key', '--etcd-prefix', '/a/b/']
    const files = { ca: '', cert: '', key: '' }
    expect(config([...secure, ...node, ...more], env, files)).toMatchObject({
      etcdPrefix: '/a/b/',
      etcdUser: 'tidings',
      etcdPassword: 's3cret',
      etcdCa: 'ca',
    })
    const file = { 'f.json': '{"etcd": ["http://e1:2379"], "nodeId": "a", "advertise": "http://a:7070"}' }
    expect(config(['--config', 'f.json'], {}, file)).toMatchObject({ etcd: ['http://e1:2379'] })
  })

  it.each([
    [[...plain, '--node-id', 'a'], '--advertise'],
    [[...plain, '--advertise', 'http://a:1'], '--node-id'],
    [[...node, '--etcd-prefix', '/a/'], '--etcd-prefix'],
    [[...node], '--advertise'],
    [[...node, '--etcd', ''], '--etcd'],
    [[...node, '--etcd', 'e1:2379'], '--etcd'],
    [[...node, '--etcd', 'http://e1:2379,'], '--etcd'],
    [[...node, '--etcd', 'http://e1:2379,http://e1:2379'], '--etcd'],
    [[...node, '--etcd', 'http://e1:2379,https://e2:2379'], '--etcd'],
    [[...node, '--etcd', 'http://e1:2379/v3'], '--etcd'],
    [[...node, '--etcd', 'http://root:hunter2@e1:2379'], '--etcd'],
    [[...plain, '--node-id', 'a', '--advertise', 'a:7070/'], '--advertise'],
    [[...plain, '--node-id', 'a', '--advertise', 'http://root:hunter2@a:7070'], '--advertise'],
    [[...plain, ...node, '--etcd-prefix', 'tidings'], '--etcd-prefix'],
    [[...plain, ...node, '--etcd-prefix', '/'], '--etcd-prefix'],
    [[...plain, ...node, '--etcd-user', 'root'], 'its password'],
    [[...plain, ...node, '--etcd-password', 'hunter2'], '--etcd-user'],
    [[...plain, ...node, '--etcd-user', 'root', '--etcd-password', ''], '--etcd-password'],
    [[...plain, ...node, '--etcd-ca', 'there'], '--etcd-ca'],
    [[...secure, ...node, '--etcd-ca', 'gone'], 'gone'],
    [[...secure, ...node, '--etcd-cert', 'there'], '--etcd-key'],
    [[...secure, ...node, '--etcd-key', 'there'], '--etcd-cert'],
  ])('refuses %j as a node of a cluster, and says no password', (argv, named) => {
    const command = parse(['serve', ...argv], {}, { there: '' })
    expect(command.kind).toBe('refused')
    const { message } = command as { message: string }
    expect(message).toContain(named)
    expect(message).not.toContain('hunter2')
  })

  it('shows the settings of a cluster in its help', () => {
    const { text } = parse(['--help']) as { text: string }
    for (const flag of ['--node-id', '--etcd', '--advertise', '--peer-cert', '--lease-ms']) expect(text).toContain(flag)
    expect(text).not.toContain('null')
  })

  it.each(['127.0.0.1', '127.9.9.9', 'localhost', '::1'])('binds loopback without --insecure: %s', (host) => {
    expect(config(['--host', host])).toMatchObject({ host })
  })

  it('tells its lines from those of other commands', () => {
    for (const argv of [['serve'], ['--port', '5'], ['--version'], ['help', 'serve'], ['-x']])
      expect(isServeLine(argv), argv.join(' ')).toBe(true)
    for (const argv of [[], ['--help'], ['-h'], ['help'], ['help', 'topic'], ['topic', 'list'], ['verify']])
      expect(isServeLine(argv), argv.join(' ')).toBe(false)
  })

  it('serves where only flags are given, and knows help and version', () => {
    expect(parse(['--version'])).toEqual({ kind: 'version' })
    for (const argv of [
      ['serve', '--help'],
      ['serve', '-h'],
      ['help', 'serve'],
    ]) {
      expect(parse(argv)).toMatchObject({ kind: 'help', text: expect.stringContaining('--max-connections') })
    }
    expect(parse(['--port', '5'])).toMatchObject({ kind: 'serve', config: { port: 5 } })
    expect(parse(['--port', '5', 'serve'])).toMatchObject({ kind: 'serve', config: { port: 5 } })
    expect(parse(['--port', '5', 'verify'])).toMatchObject({ kind: 'refused' })
  })
})
