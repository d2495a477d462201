/** The examples, compiled as a reader would and run against a broker: processes of their own, and a page in Chromium. */
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { chromium, type Page } from 'playwright-core'
import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import { BrokerProcess, freePort, ROOT, startProgram, stopAll } from '../support/broker-process.ts'
import { ensureProgram } from '../support/debian-package.ts'

const WAIT = { timeout: 60_000, interval: 100 }

beforeAll(async () => {
  await promisify(execFile)(process.execPath, [
    join(ROOT, 'node_modules/typescript/bin/tsc'),
    '-p',
    join(ROOT, 'examples'),
  ])
}, 60_000)
afterEach(stopAll)

const example = (name: string, env: Record<string, string>) =>
  startProgram([process.execPath, join(ROOT, 'dist-examples', name)], env)

describe('the order service', () => {
  it('charges every order once and mails it; what cannot be mailed is a dead letter', {
    timeout: 180_000,
  }, async () => {
    const broker = await BrokerProcess.start()
    const env = { TIDINGS_URL: broker.url }
    const [payments, email] = [example('orders/payments.js', env), example('orders/email.js', env)]
    for (const already of ['', 'already ']) {
      const orders = example('orders/orders.js', env)
      const { code, stdout } = await orders.ended()
      expect(code).toBe(0)
      expect(stdout).toContain(`a-1 is ${already}stored as 0:0`)
      expect(stdout).toContain('a-4 is refused: schema_violation at /total')
      await expect.poll(() => email.output(), WAIT).toContain('given up on a-2: Error: mailbox unavailable, attempt 3')
    }
    expect(email.output()).toContain('mail to ada@example.org: 30 paid in 20')
    expect(email.output()).toContain('mail to grace@example.org: 7 paid in 20')
    expect(payments.output().match(/a-1 is paid/g)).toHaveLength(1)
    expect(email.output().match(/mail to ada/g)).toHaveLength(1)
    for (const service of [payments, email]) expect(await service.terminate()).toMatchObject({ code: 0 })
  })
})

describe('the page with a live feed', () => {
  it('shows what is published, and remembers what it has shown', { timeout: 180_000 }, async () => {
    const executablePath = await ensureProgram('chromium')
    const port = await freePort()
    const origin = `http://127.0.0.1:${port}`
    const broker = await BrokerProcess.start({ flags: ['--allowed-origins', origin] })
    example('live-feed/server.js', { PORT: String(port), PAGE: join(ROOT, 'examples/live-feed/index.html') })
    const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] })
    try {
      const page = await browser.newPage()
      const problems: string[] = []
      page.on('pageerror', (error) => problems.push(String(error)))
      const address = `${origin}/?broker=${broker.url}`
      await expect
        .poll(
          () =>
            page.goto(address).then(
              (answer) => answer?.status(),
              () => 0,
            ),
          WAIT,
        )
        .toBe(200)
      const items = (of: Page): Promise<string[]> => of.locator('li').allTextContents()
      const say = async (text: string): Promise<void> => {
        await page.fill('input', text)
        await page.click('button')
      }
      await say('first')
      await expect.poll(() => items(page), WAIT).toEqual([expect.stringContaining('first (0:0')])
      await fetch(`${broker.url}/v1/topics/feed/messages`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: '{"text":"from outside"}',
      })
      await expect.poll(() => items(page), WAIT).toHaveLength(2)
      const reader = await page.evaluate(
        () => (globalThis as unknown as { localStorage: { reader: string } }).localStorage.reader,
      )
      const backlog = async (): Promise<number> => {
        const answer = await fetch(`${broker.url}/v1/topics/feed/subscriptions/${reader}`)
        return ((await answer.json()) as { state: { backlog: number } }).state.backlog
      }
      await expect.poll(backlog, WAIT).toBe(0)
      await page.goto(address)
      await say('third')
      await expect.poll(() => items(page), WAIT).toEqual([expect.stringContaining('third (0:2')])
      expect(problems).toEqual([])
    } finally {
      await browser.close()
    }
  })
})

describe.each([
  ['Fastify', 'fastify/app.js', '/visits', { page: '/home', seconds: 3 }, '/counts', { '/home': 2 }],
  [
    'NestJS',
    'nestjs/app.js',
    '/signups',
    { email: 'ada@example.org' },
    '/signups/greeted',
    ['ada@example.org', 'ada@example.org'],
  ],
])('the %s app', (name, file, publishTo, body, readFrom, expected) => {
  it('publishes, consumes, and ends in order', { timeout: 120_000 }, async () => {
    const broker = await BrokerProcess.start()
    const port = String(await freePort())
    const app = example(file, { TIDINGS_URL: broker.url, PORT: port })
    const url = `http://127.0.0.1:${port}`
    const post = (value: unknown): Promise<number> =>
      fetch(url + publishTo, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(value),
      }).then(
        ({ status }) => status,
        () => 0,
      )
    await expect.poll(() => post(body), WAIT).toBe(201)
    expect(await post(body)).toBe(201)
    if (name === 'Fastify') expect(await post({ page: '/home', seconds: -1 })).toBe(422)
    await expect.poll(() => fetch(url + readFrom).then((answer) => answer.json()), WAIT).toEqual(expected)
    const { code, signal, stderr } = await app.terminate()
    expect(stderr).toBe('')
    // NestJS ends with the signal itself, after its hooks.
    expect([0, 'SIGTERM']).toContain(code ?? signal)
  })
})
