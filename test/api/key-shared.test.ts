import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Frame, StreamClient } from '../support/stream-client.ts'
import { call, startTestBroker, type TestBroker } from '../support/test-broker.ts'

let broker: TestBroker
beforeAll(async () => {
  broker = await startTestBroker()
})
afterAll(() => broker.stop())

const KEYS = 40

/** Publishes so many messages, `seq` rising, with keys in turn. */
async function publish(topic: string, from: number, count: number): Promise<void> {
  const messages = Array.from({ length: count }, (_, i) => ({ key: `k${(from + i) % KEYS}`, value: from + i }))
  const { status } = await call(broker, 'POST', `/v1/topics/${topic}/messages/batch`, { messages })
  expect(status).toBe(200)
}

/** What all consumers of a subscription got, and whether that kept the promises of `key_shared`. */
class Witness {
  readonly acked: Set<string> = new Set()
  readonly faults: string[] = []
  /** By partition and key: the last value of a first delivery, and who holds messages. */
  readonly #last = new Map<string, number>()
  readonly #holders = new Map<string, Map<string, string>>()
  readonly #failed = new Map<string, { id: string; value: number; who: string }>()

  got(who: string, frame: Frame): void {
    const [id, key, value] = [frame['id'] as string, frame['key'] as string, frame['value'] as number]
    const held = this.#heldOf(key)
    for (const [other, holder] of held)
      if (holder !== who) this.faults.push(`${id} of ${key} to ${who}, ${other} is with ${holder}`)
    const failed = this.#failed.get(key)
    // What was on its way to whoever refused it may still come there, and what was before it goes before it.
    if (failed && value > failed.value && failed.who !== who) {
      this.faults.push(`${id} of ${key} before ${failed.id}, which failed`)
    }
    if (frame['attempt'] === 1) {
      if (value <= (this.#last.get(key) ?? -1)) this.faults.push(`${id} of ${key} out of order`)
      this.#last.set(key, value)
    }
    held.set(id, who)
  }

  settled(who: string, frame: Frame, how: 'ack' | 'nack'): void {
    const [id, key, value] = [frame['id'] as string, frame['key'] as string, frame['value'] as number]
    this.#heldOf(key).delete(id)
    if (how === 'nack') this.#failed.set(key, { id, value, who })
    else {
      this.acked.add(id)
      if (this.#failed.get(key)?.id === id) this.#failed.delete(key)
    }
  }

  /** The connection is gone: what it held may come again. */
  left(who: string): void {
    for (const held of this.#holders.values()) {
      for (const [id, holder] of held) if (holder === who) held.delete(id)
    }
  }

  #heldOf(key: string): Map<string, string> {
    let held = this.#holders.get(key)
    if (!held) this.#holders.set(key, (held = new Map()))
    return held
  }
}

/** A consumer that acknowledges what it gets, now and then only after a nack. */
class Worker {
  readonly #client: StreamClient
  readonly #witness: Witness
  readonly #name: string
  #isStopping = false
  readonly #done: Promise<void>

  private constructor(client: StreamClient, witness: Witness, name: string) {
    this.#client = client
    this.#witness = witness
    this.#name = name
    this.#done = this.#run()
  }

  static async join(topic: string, witness: Witness, name: string, prefetch: number): Promise<Worker> {
    const client = await StreamClient.open(broker, topic, 's', `?prefetch=${prefetch}&consumer=${name}`)
    return new Worker(client, witness, name)
  }

  /** Says that it stops, and ends its connection when what it said before has arrived. */
  async leave(): Promise<void> {
    this.#isStopping = true
    this.#client.send({ type: 'ack', ids: [], request: 'last' })
    await this.#done
    this.#witness.left(this.#name)
    await this.#client.end()
  }

  async #run(): Promise<void> {
    for (let count = 0; ; count++) {
      const frame = await this.#client.next()
      if (frame['request'] === 'last') return
      if (frame['type'] !== 'message') continue
      this.#witness.got(this.#name, frame)
      // What it holds when it leaves comes again.
      if (this.#isStopping) continue
      const isNack = count % 23 === 22 && frame['attempt'] === 1
      this.#witness.settled(this.#name, frame, isNack ? 'nack' : 'ack')
      this.#client.send({ type: isNack ? 'nack' : 'ack', ids: [frame['id']], ...(isNack ? { delayMs: 5 } : {}) })
    }
  }
}

describe('key_shared over sockets', () => {
  it('keeps keys whole and in order while consumers come and go under load, and loses nothing', async () => {
    await call(broker, 'PUT', '/v1/topics/churned', { partitions: 2 })
    await call(broker, 'PUT', '/v1/topics/churned/subscriptions/s', { type: 'key_shared', start: 'earliest' })
    const witness = new Witness()
    const workers = [
      await Worker.join('churned', witness, 'slow', 1),
      await Worker.join('churned', witness, 'quick', 500),
      await Worker.join('churned', witness, 'middle', 20),
    ]
    const total = 4000
    for (let sent = 0, turn = 0; sent < total; sent += 200, turn++) {
      await publish('churned', sent, 200)
      workers.push(await Worker.join('churned', witness, `w${turn}`, 1 + ((turn * 37) % 100)))
      await workers.splice(turn % workers.length, 1)[0]!.leave()
    }
    await expect
      .poll(async () => (await call(broker, 'GET', '/v1/topics/churned/subscriptions/s')).json, { timeout: 20_000 })
      .toMatchObject({ state: { backlog: 0 } })
    expect(witness.faults).toEqual([])
    expect(witness.acked.size).toBe(total)
    for (const worker of workers) await worker.leave()
  }, 60_000)

  it('keeps a key with one pull, and reaches by HTTP what any pull holds', async () => {
    const path = '/v1/topics/pulled/subscriptions/s'
    await call(broker, 'PUT', path, { type: 'key_shared', start: 'earliest' })
    await publish('pulled', 0, KEYS * 3)
    const idsOf = async (max: number): Promise<string[]> => {
      const { json } = await call(broker, 'POST', `${path}/pull`, { max })
      return (json as { messages: Frame[] }).messages.map(({ id }) => id as string)
    }
    const first = await idsOf(10)
    const second = await idsOf(10)
    const keyOf = (id: string): number => Number(id.split(':')[1]) % KEYS
    expect([first.length, second.length]).toEqual([10, 10])
    expect(second.filter((id) => first.some((other) => keyOf(other) === keyOf(id)))).toEqual([])
    expect((await call(broker, 'POST', `${path}/ack`, { ids: [...first, ...second] })).json).toEqual({ count: 20 })
    expect((await call(broker, 'POST', `${path}/ack`, { upTo: '0:3' })).json).toMatchObject({
      code: 'invalid_argument',
    })
  })

  it('is created by a stream, and shows what it is', async () => {
    const client = await StreamClient.open(broker, 'streamed', 's', '?type=key_shared')
    expect((await call(broker, 'GET', '/v1/topics/streamed/subscriptions/s')).json).toMatchObject({
      type: 'key_shared',
    })
    await client.end()
  })
})
