/**
 * Real input for the demo and the process tests: a history of commits where the data set is there, else one
 * event for each file under node_modules. Either way many thousands of JSON events of very different sizes.
 */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import type { Entry } from './recording-publisher.ts'

export interface RealEvents {
  from: string
  entries: Entry[]
}

export function realEvents(root: string, limit = Number.POSITIVE_INFINITY): RealEvents {
  const data = join(root, '../shared/data/commits.ndjson.gz')
  return existsSync(data) ? commitEvents(data, limit) : fileEvents(join(root, 'node_modules'), limit)
}

function commitEvents(path: string, limit: number): RealEvents {
  const entries: Entry[] = []
  for (const line of gunzipSync(readFileSync(path)).toString('utf8').split('\n')) {
    if (line === '' || entries.length >= limit) continue
    const { key, headers, value } = JSON.parse(line) as { key: string; headers: Record<string, string>; value: unknown }
    entries.push({ name: `e-${entries.length}`, key, headers, value })
  }
  return { from: 'commits.ndjson.gz', entries }
}

function fileEvents(folder: string, limit: number): RealEvents {
  const entries: Entry[] = []
  for (const path of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    if (entries.length >= limit) break
    const info = statSync(join(folder, path), { throwIfNoEntry: false })
    if (!info?.isFile()) continue
    const value = { event: 'file', path, bytes: info.size, modifiedAt: Math.trunc(info.mtimeMs) }
    entries.push({ name: `e-${entries.length}`, key: path.split('/')[0]!, value })
  }
  return { from: 'files under node_modules', entries }
}
