/**
 * Patterns of topic names: levels parted by dots, where `*` stands for one level and `**`, as the last
 * one, for the rest, which is one level or more. `orders.*` matches `orders.eu`, `orders.**` also
 * `orders.eu.north`, and neither matches `orders`.
 */
import { TidingsError } from './errors.ts'
import { checkName } from './names.ts'

const PATTERN_CHARS_MAX = 200
const LEVEL = /^(?:\*|[A-Za-z0-9._~-]*)$/

/** Whether the text is meant as a pattern: no name of a topic has such a character. */
export function isPattern(text: string): boolean {
  return text.includes('*')
}

/** A pattern, or `invalid_argument` that says why not. */
export function checkPattern(text: string): string {
  const levels = text.split('.')
  const rest = levels.indexOf('**')
  const shown = JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text)
  const invalid = (why: string): TidingsError => new TidingsError('invalid_argument', `pattern ${shown}: ${why}`)
  if (rest !== -1 && rest !== levels.length - 1) throw invalid('"**" stands for the rest, so it must be the last level')
  if (!levels.every((level, i) => LEVEL.test(level) || i === rest)) {
    throw invalid('a level is "*", "**" or made of A-Z a-z 0-9 _ ~ -; a star stands for a whole level')
  }
  if (text.length > PATTERN_CHARS_MAX) throw invalid(`it is longer than ${PATTERN_CHARS_MAX} characters`)
  if (!/^[A-Za-z0-9*]/.test(text)) throw invalid('it must start with a star, a letter or a digit')
  return text
}

/** The name of a topic, or a pattern of such names. */
export function checkTopicOrPattern(text: string): string {
  return isPattern(text) ? checkPattern(text) : checkName('topic', text)
}

/** Whether the topic's name is one that the pattern stands for; the broker's own topics never are. */
export function matchesPattern(pattern: string, topic: string): boolean {
  if (topic.startsWith('_')) return false
  const levels = topic.split('.')
  const wanted = pattern.split('.')
  const isOpen = wanted.at(-1) === '**'
  if (isOpen ? levels.length < wanted.length : levels.length !== wanted.length) return false
  return wanted.every((level, i) => level === '*' || (isOpen && i === wanted.length - 1) || level === levels[i])
}
