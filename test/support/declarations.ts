/**
 * What a package declares to the compiler: the declarations that its entry reaches, without comments, in the
 * order of their paths. Pure but for the reading of files.
 */
import { readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'

const IMPORT = /(?:from|import\()\s*['"](\.[^'"]+)['"]/g

/** The text of every declaration file that `entry` reaches by relative imports; paths are relative to its directory. */
export function declarationsOf(entry: string): string {
  const found = new Map<string, string>()
  const open = [entry]
  for (let path = open.pop(); path !== undefined; path = open.pop()) {
    if (found.has(path)) continue
    const text = readFileSync(path, 'utf8')
    found.set(path, withoutComments(text))
    for (const [, target] of text.matchAll(IMPORT)) {
      open.push(join(dirname(path), target!.replace(/\.(ts|js)$/, '.d.ts')))
    }
  }
  const root = dirname(entry)
  return [...found]
    .map(([path, text]): [string, string] => [relative(root, path), text])
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([path, text]) => `// ${path}\n${text}`)
    .join('\n')
}

function withoutComments(text: string): string {
  return text
    .replace(/\/\*[^]*?\*\//g, '')
    .replace(/^\/\/.*$/gm, '')
    .replace(/^\s*\n/gm, '')
}
