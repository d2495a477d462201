/**
 * The examples of a documentation page, as CONTRIBUTING.md describes them: what is to be run, and what it is
 * to print. Pure: the page's text in, examples out; whoever runs them compares with `isAsSaid`.
 */

export interface Step {
  /** Commands of a shell, or a whole script. */
  code: string
  /** What it prints; null: whatever it prints, but it must succeed. */
  expected: string | null
}

export interface Example {
  language: 'sh' | 'js'
  /** Of the line that opens the block, from 1. */
  line: number
  /** Ended by the runner, because by itself it would go on. */
  isEndless: boolean
  steps: Step[]
}

interface Block {
  info: string[]
  line: number
  lines: string[]
  /** Nothing but empty lines stand between it and the block before. */
  follows: boolean
}

const WORDS = new Set(['skip', 'endless'])

/** Throws for an example that is not written as it should be. */
export function examplesOf(page: string): Example[] {
  const examples: Example[] = []
  let isOpen = false
  for (const { info, line, lines, follows } of blocksOf(page)) {
    const [language, ...words] = info
    if (language === 'sh' || language === 'js') {
      const strange = words.find((word) => !WORDS.has(word))
      if (strange !== undefined) throw new Error(`line ${line}: a block of ${language} knows no "${strange}"`)
      isOpen = !words.includes('skip')
      if (!isOpen) continue
      const steps = language === 'sh' ? stepsOf(lines, /^#=> ?/) : stepsOf(lines, /^\/\/=> ?/)
      if (language === 'js' && steps.length > 1) throw new Error(`line ${line}: what a script prints stands at its end`)
      examples.push({ language, line, isEndless: words.includes('endless'), steps })
    } else if ((language === 'json' || language === 'text') && follows && isOpen) {
      // What the block before prints, in a block of its own.
      const last = examples.at(-1)?.steps.at(-1)
      if (last?.expected === null) last.expected = lines.join('\n')
      isOpen = false
    } else isOpen = false
  }
  return examples
}

/**
 * Whether the output ends with what the page says: commands before the last one print what they like. White
 * space does not count, and `…` stands for anything.
 */
export function endsAsSaid(expected: string, output: string): boolean {
  const parts = squeezed(expected).split('…').map(escaped)
  return new RegExp(`${parts.join('[^]*?')}$`).test(squeezed(output))
}

function squeezed(text: string): string {
  return text.replace(/\s+/g, '')
}

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
}

function blocksOf(page: string): Block[] {
  const blocks: Block[] = []
  let block: Block | undefined
  let follows = false
  page.split('\n').forEach((text, index) => {
    if (block) {
      if (text.trim() === '```') {
        blocks.push(block)
        block = undefined
        follows = true
      } else block.lines.push(text)
    } else if (text.startsWith('```')) {
      block = { info: text.slice(3).trim().split(/\s+/), line: index + 1, lines: [], follows }
    } else if (text.trim() !== '') follows = false
  })
  if (block) throw new Error(`line ${block.line}: the block has no end`)
  return blocks
}

/** Commands, each group with the lines after it that say what it prints. */
function stepsOf(lines: readonly string[], mark: RegExp): Step[] {
  const steps: Step[] = []
  let step: Step | undefined
  for (const line of lines) {
    if (mark.test(line)) {
      if (!step) throw new Error(`"${line}" stands after no command`)
      step.expected = `${step.expected === null ? '' : `${step.expected}\n`}${line.replace(mark, '')}`
      continue
    }
    if (step && step.expected !== null && line.trim() === '') continue
    if (!step || step.expected !== null) {
      step = { code: '', expected: null }
      steps.push(step)
    }
    step.code += `${line}\n`
  }
  return steps
}
