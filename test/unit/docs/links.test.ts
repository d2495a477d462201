/** Every relative link in the pages, and every anchor of one, leads somewhere. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

const root = fileURLToPath(new URL('../../../', import.meta.url))
const docs = readdirSync(join(root, 'docs')).filter((name) => name.endsWith('.md'))
const pages = [
  'README.md',
  'CHANGELOG.md',
  'CONTRIBUTING.md',
  'bench/README.md',
  'sdk/README.md',
  'test/README.md',
  'examples/README.md',
  'src/cluster/REPLICATION.md',
  'src/subscription/DELIVERY.md',
  ...docs.map((name) => `docs/${name}`),
]

describe('the pages', () => {
  it.each(pages)('%s links to files and headings that exist', (page) => {
    expect(linksOf(page).filter((link) => !resolves(page, link))).toEqual([])
  })

  it('link to each other', () => {
    expect(linksOf('README.md').length).toBeGreaterThan(10)
  })

  it('are told from what is not there', () => {
    expect(resolves('README.md', 'docs/NOWHERE.md')).toBe(false)
    expect(resolves('README.md', 'docs/API.md#no-such-heading')).toBe(false)
    expect(resolves('README.md', 'docs/API.md')).toBe(true)
  })
})

/** Without code, where brackets and parentheses mean something else. */
function proseOf(page: string): string {
  return readFileSync(join(root, page), 'utf8').replaceAll(/^```.*?^```/gms, '')
}

function linksOf(page: string): string[] {
  const prose = proseOf(page).replaceAll(/`[^`\n]*`/g, 'code')
  return [...prose.matchAll(/\]\(([^)\s]+)\)/g)].map(([, link]) => link!).filter((link) => !/^[a-z]+:/.test(link))
}

function resolves(page: string, link: string): boolean {
  const [path, anchor] = link.split('#')
  const target = path ? join(dirname(page), path) : page
  if (!existsSync(join(root, target))) return false
  return anchor === undefined || anchorsOf(target).includes(anchor)
}

/** As GitHub makes them of headings; a heading that was there before gets a number. */
function anchorsOf(page: string): string[] {
  const seen = new Map<string, number>()
  return [...proseOf(page).matchAll(/^#{1,6} +(.+)$/gm)].map(([, heading]) => {
    const text = heading!.replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1').toLowerCase()
    const anchor = text
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .trim()
      .replaceAll(/\s/g, '-')
    const times = seen.get(anchor) ?? 0
    seen.set(anchor, times + 1)
    return times === 0 ? anchor : `${anchor}-${times}`
  })
}
