/** The commands that work on a broker's files without it, and those about this program itself, described. */
import type { Command } from './command.ts'
import { integer, JSON_FLAG, text, toggle } from './flag.ts'

export const DATA_COMMANDS: readonly Command[] = [
  {
    path: 'verify',
    summary: "check every byte of a stopped broker's data",
    args: [],
    flags: [
      text('data-dir', 'DIRECTORY', 'what the broker keeps (./data)', { variable: 'TIDINGS_DATA_DIR' }),
      text('config', 'FILE', 'the config file of the broker', { variable: 'TIDINGS_CONFIG' }),
      JSON_FLAG,
    ],
    notes: 'Changes nothing. Ends with 1 when something is damaged.',
    examples: ['tidings verify --data-dir ./data'],
    load: async () => (await import('./verify.ts')).verify,
  },
  {
    path: 'segment dump',
    summary: 'show what is in a segment file',
    args: [{ name: 'file' }],
    flags: [
      toggle('values', "the records' values, too"),
      integer('from', 'begin with this offset'),
      integer('limit', 'at most so many records', { min: 1 }),
      JSON_FLAG,
    ],
    notes:
      'Works on a copy, on the files of a stopped or running broker, and on what GET …/segments/{baseOffset} answers.',
    examples: ['tidings segment dump data/partitions/Vq…-0/data/00000000000000000000.log --values'],
    load: async () => (await import('./segment-dump.ts')).segmentDump,
  },
  {
    path: 'completion',
    summary: 'print a script that completes commands in a shell',
    args: [{ name: 'shell', choices: ['bash', 'zsh', 'fish'] }],
    flags: [JSON_FLAG],
    examples: ['source <(tidings completion bash)'],
    load: async () => (await import('./completion-command.ts')).completion,
  },
]
