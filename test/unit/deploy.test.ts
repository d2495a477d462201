/** What deploys a cluster names settings and metrics that exist: nothing else would notice a misspelt one. */
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { parseAllDocuments } from 'yaml'
import { SETTINGS } from '../../src/config.ts'
import { createMetrics } from '../../src/server/metrics.ts'

const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')
const variables = new Set(
  Object.keys(SETTINGS).map((name) => `TIDINGS_${name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`),
)

describe.each(['docker-compose.yml', 'deploy/kubernetes/tidings.yaml'])('%s', (path) => {
  const text = read(path)

  it('is YAML', () => {
    const documents = parseAllDocuments(text, { merge: true })
    expect(documents.flatMap(({ errors }) => errors)).toEqual([])
    expect(documents.length).toBeGreaterThan(0)
  })

  it('sets only what the broker knows', () => {
    const named = [...text.matchAll(/\bTIDINGS_[A-Z_]+\b/g)].map(([name]) => name)
    expect(named.length).toBeGreaterThan(3)
    expect(named.filter((name) => !variables.has(name))).toEqual([])
  })
})

describe('the dashboard', () => {
  it('asks for metrics that a broker has', async () => {
    const metrics = createMetrics()
    const exposed = await metrics.expose({ topics: () => [], subscriptions: () => [] } as never)
    const asked = [...read('deploy/grafana/dashboards/tidings.json').matchAll(/\btidings_[a-z_]+/g)].map(
      ([name]) => name,
    )
    expect(asked.length).toBeGreaterThan(5)
    const known = new Set([...exposed.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name!))
    expect(asked.filter((name) => !known.has(name.replace(/_bucket$/, '')))).toEqual([])
    metrics.close()
  })
})
