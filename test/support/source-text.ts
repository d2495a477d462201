/**
 * Reads TypeScript source just well enough for the tidy test: which modules a file imports, and its text
 * without comments and without the insides of strings, so that a search finds code and nothing else.
 * A scanner and not a parser: it knows comments, strings, templates and regular expressions.
 */

export interface SourceText {
  /** The code with comments and the contents of strings and regular expressions blanked; same line numbers. */
  code: string
  /** Every string and template part, in order, as written between its quotes. */
  strings: string[]
  /** Module specifiers of imports, re-exports and dynamic imports. */
  imports: string[]
}

const BEFORE_REGEX = /(?:^|[=(,:[!&|?{};+\-*%<>~^]|=>|\b(?:return|typeof|case|in|of|void|do|else|await|yield))\s*$/
const IMPORT = /(?:\bfrom|\bimport)\s*\(?\s*\uE000(\d+)\uE000/g

export function readSource(text: string): SourceText {
  const scanner = new Scanner(text)
  scanner.run()
  const imports: string[] = []
  for (const match of scanner.code.matchAll(IMPORT)) imports.push(scanner.strings[Number(match[1])]!)
  return { code: scanner.code.replace(/\uE000\d+\uE000/g, "''"), strings: scanner.strings, imports }
}

/** Leaves a marked index in the code where a string stood, so that imports can be read off it. */
class Scanner {
  code = ''
  readonly strings: string[] = []
  readonly #text: string
  #at = 0
  /** Open `${` of templates: how many braces are open inside each. */
  readonly #templates: number[] = []

  constructor(text: string) {
    this.#text = text
  }

  run(): void {
    while (this.#at < this.#text.length) {
      const two = this.#text.slice(this.#at, this.#at + 2)
      const one = two[0]!
      if (two === '//') this.#blank(this.#end('\n'))
      else if (two === '/*') this.#blank(this.#end('*/') + 2)
      else if (one === "'" || one === '"') this.#string(one)
      else if (one === '`') this.#template(1)
      else if (one === '/' && BEFORE_REGEX.test(this.code.slice(-40))) this.#regex()
      else if (one === '}' && this.#templates.at(-1) === 0) {
        this.#templates.pop()
        this.#template(1)
      } else this.#plain(one)
    }
  }

  #plain(one: string): void {
    const open = this.#templates.length - 1
    if (open >= 0 && one === '{') this.#templates[open]!++
    if (open >= 0 && one === '}') this.#templates[open]!--
    this.code += one
    this.#at++
  }

  #end(mark: string): number {
    const end = this.#text.indexOf(mark, this.#at)
    return end === -1 ? this.#text.length : end
  }

  #blank(to: number): void {
    this.code += this.#text.slice(this.#at, to).replace(/[^\n]/g, '')
    this.#at = to
  }

  #keep(from: number, to: number): void {
    this.code += `\uE000${this.strings.length}\uE000`
    const kept = this.#text.slice(from, to)
    this.strings.push(kept)
    this.code += kept.replace(/[^\n]/g, '')
  }

  #string(quote: string): void {
    let end = this.#at + 1
    while (end < this.#text.length && this.#text[end] !== quote) end += this.#text[end] === '\\' ? 2 : 1
    this.#keep(this.#at + 1, end)
    this.#at = end + 1
  }

  /** From a backtick, or from the brace that ends a placeholder, to the next placeholder or the end. */
  #template(skip: number): void {
    let end = this.#at + skip
    while (end < this.#text.length && this.#text[end] !== '`' && this.#text.slice(end, end + 2) !== '${') {
      end += this.#text[end] === '\\' ? 2 : 1
    }
    this.#keep(this.#at + skip, end)
    if (this.#text[end] === '$') {
      this.#templates.push(0)
      this.#at = end + 2
    } else this.#at = end + 1
  }

  #regex(): void {
    let inClass = false
    let end = this.#at + 1
    for (; end < this.#text.length; end++) {
      const one = this.#text[end]
      if (one === '\\') end++
      else if (one === '[') inClass = true
      else if (one === ']') inClass = false
      else if (one === '/' && !inClass) break
    }
    this.code += '/r/'
    this.#at = end + 1
  }
}
