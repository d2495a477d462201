/** The CLI as processes: what only these show. Pipes, signals, files of a stopped broker, shells, a broker that is killed. */
import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { callOk, eventually } from '../support/admin-client.ts'
import { BrokerProcess, type Exit, runCli, runShell, stopAll, temporaryDirectory } from '../support/broker-process.ts'

let broker: BrokerProcess

beforeAll(async () => {
  broker = await BrokerProcess.start()
})
afterAll(stopAll)

const tidings = (...words: string[]): Promise<Exit> => runCli(words, 60_000, { TIDINGS_URL: broker.url })
const shell = (script: string): Promise<Exit> => runShell(script, { TIDINGS_URL: broker.url }, 90_000)

async function textOf(...words: string[]): Promise<string> {
  const exit = await tidings(...words)
  if (exit.code !== 0) throw new Error(`${words.join(' ')}: ${exit.code} ${exit.stderr}`)
  return exit.stdout
}

// oxlint-disable-next-line typescript/no-explicit-any
async function jsonOf(...words: string[]): Promise<any> {
  return JSON.parse(await textOf(...words, '--json'))
}

describe('publishing a file', () => {
  it('loses and doubles nothing over kill -9 of the broker in the middle, and keeps the order', async () => {
    const count = 60_000
    const file = join(temporaryDirectory(), 'numbers')
    writeFileSync(file, Array.from({ length: count }, (_, n) => `${n}\n`).join(''))
    await callOk('PUT', `${broker.url}/v1/topics/numbers`, {})
    const next = async (): Promise<number> =>
      (await callOk('GET', `${broker.url}/v1/topics/numbers`)).partitionStates[0].nextOffset
    const publishing = tidings('publish', 'numbers', '--lines', file, '--json')
    await eventually('some are stored', next, (stored) => stored > 0)
    await broker.kill()
    await broker.restart()
    const stored = await next()
    expect(stored).toBeLessThan(count)
    const exit = await publishing
    expect(exit.stderr).toBe('')
    expect(JSON.parse(exit.stdout)).toMatchObject({ lines: count, published: count, refusedCount: 0, unknown: 0 })
    const values: unknown[] = []
    while (values.length < count) {
      const url = `${broker.url}/v1/topics/numbers/partitions/0/messages?offset=${values.length}&limit=10000`
      const { messages } = await callOk('GET', url)
      expect(messages.length).toBeGreaterThan(0)
      values.push(...messages.map(({ value }: { value: unknown }) => value))
    }
    expect(values.length).toBe(count)
    expect(values.findIndex((value, n) => value !== n)).toBe(-1)
  })
})

describe('a pipe', () => {
  beforeAll(async () => {
    const messages = Array.from({ length: 1000 }, (_, value) => ({ value }))
    await callOk('POST', `${broker.url}/v1/topics/piped/messages/batch`, { messages })
  })

  it('that its reader closes ends subscribe without a word', async () => {
    const exit = await shell('tidings subscribe piped --start earliest | head -n 2; echo "${PIPESTATUS[0]}"')
    expect(exit).toMatchObject({ code: 0, stderr: '' })
    expect(exit.stdout.trimEnd().split('\n')).toHaveLength(3)
    expect(exit.stdout).toMatch(/\n0\n$/)
  })

  it('carries messages from one topic to another', async () => {
    const exit = await shell(
      'tidings subscribe piped --start earliest --max 100 --json | tidings publish copies --ndjson - --json',
    )
    expect(JSON.parse(exit.stdout)).toMatchObject({ lines: 100, published: 100 })
  })

  it('prints plain lines again and again where nobody sees a screen, and ends with its reader', async () => {
    const exit = await shell('tidings top --interval 100ms | grep -m 3 ^TOPIC')
    expect(exit).toMatchObject({ code: 0, stderr: '' })
    expect(exit.stdout).not.toContain('\u001b')
    expect(exit.stdout.trimEnd().split('\n')).toHaveLength(3)
  })
})

describe('Ctrl-C', () => {
  it('ends subscribe and top with 0', async () => {
    for (const words of ['subscribe piped waiting --start latest', 'top --interval 100ms']) {
      // The first line shows that it runs; of subscribe the broker knows when it is connected.
      const script = `"$NODE" "$MAIN" ${words} > out.$$ & pid=$!
        for (( i = 0; i < 300; i++ )); do
          [[ -s out.$$ ]] && break
          [[ "$(tidings subscription show piped waiting --json 2>/dev/null)" == *'"consumers":[{'* ]] && break
          sleep 0.1
        done
        kill -INT $pid; wait $pid; echo "ended with $?"; rm -f out.$$`
      const exit = await shell(`cd '${temporaryDirectory()}'; ${script}`)
      expect(exit.stdout).toBe('ended with 0\n')
      expect(exit.stderr).toBe('')
    }
  })
})

describe('the files of a broker', () => {
  it('are verified and dumped', async () => {
    const other = await BrokerProcess.start()
    for (let n = 0; n < 3; n++) await callOk('POST', `${other.url}/v1/topics/kept/messages`, { n })
    const partitions = join(other.dataDir, 'partitions')
    const file = join(partitions, readdirSync(partitions)[0]!, 'data', '00000000000000000000.log')
    const locked = await runCli(['verify', '--data-dir', other.dataDir])
    expect(locked.code).toBe(1)
    await other.terminate()

    const verified = await jsonOf('verify', '--data-dir', other.dataDir)
    expect(verified).toMatchObject({ dataDir: other.dataDir, records: 3, damaged: 0, torn: 0, strangers: [] })
    const data = verified.logs.find(({ directory }: { directory: string }) => directory.endsWith('/data'))
    expect(data).toMatchObject({ nextOffset: 3, findings: [] })

    const dumped = (await textOf('segment', 'dump', file, '--values', '--from', '1', '--limit', '1', '--json'))
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(dumped.map(({ type }) => type)).toEqual(['batch', 'record', 'segment'])
    expect(dumped[1]).toMatchObject({ offset: 1, key: null, contentType: 'application/json', value: { n: 1 } })
    expect(dumped[2]).toMatchObject({ baseOffset: 0, nextOffset: 3, records: 3, whole: true, sealed: false })
    expect(await textOf('segment', 'dump', file, '--values')).toContain('{"n":2}')

    writeFileSync(file, 'not a segment')
    expect(await tidings('segment', 'dump', file)).toMatchObject({ code: 1 })
    expect(await tidings('verify', '--data-dir', other.dataDir)).toMatchObject({ code: 1 })
    expect(await tidings('verify', '--port', '5')).toMatchObject({ code: 2 })
    const nowhere = await tidings('verify', '--data-dir', `${other.dataDir}-nowhere`)
    expect([nowhere.code, nowhere.stderr]).toEqual([1, expect.stringContaining('holds no data of tidings')])
    expect(await tidings('segment', 'dump', '/no/such/file')).toMatchObject({ code: 1 })
  })
})

describe('completion', () => {
  const complete = async (...words: string[]): Promise<string[]> => {
    const script = `source <(tidings completion bash)
      COMP_WORDS=(tidings ${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length}; _tidings; printf '%s\\n' "\${COMPREPLY[@]}"`
    const exit = await shell(script)
    expect(exit.stderr).toBe('')
    return exit.stdout.split('\n').filter((line) => line !== '')
  }

  it('completes commands, flags, choices and names in bash', async () => {
    await textOf('topic', 'create', 'completed')
    await textOf('subscription', 'create', 'completed', 'mine')
    expect(await complete('sub')).toEqual(['subscribe', 'subscription'])
    expect(await complete('topic', '')).toEqual(['create', 'update', 'list', 'show', 'delete'])
    expect(await complete('topic', 'create', 'x', '--max')).toEqual(['--max-age', '--max-bytes', '--max-message-bytes'])
    expect(await complete('topic', 'create', 'x', '--durability', '')).toEqual(['fsync', 'buffered'])
    expect(await complete('topic', 'show', 'compl')).toEqual(['completed'])
    expect(await complete('subscription', 'show', 'completed', 'm')).toEqual(['mine'])
    expect(await complete('completion', '')).toEqual(['bash', 'zsh', 'fish'])
  })

  it('is there for zsh and fish', async () => {
    const zsh = await textOf('completion', 'zsh')
    expect(zsh).toMatch(/^#compdef tidings\n/)
    const fish = await textOf('completion', 'fish')
    for (const part of ['-a publish', '-a redrive', '-l ndjson', "-x -a 'fsync buffered'"]) expect(fish).toContain(part)
    expect(await jsonOf('completion', 'fish')).toEqual({ shell: 'fish', script: fish })
  })
})
