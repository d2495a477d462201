/**
 * Runs the examples of a documentation page as a reader would type them: a shell or node as processes of their
 * own, against a broker that listens where the page says, or rather where that is in the text. Every
 * process ends with its example.
 */
import { spawn } from 'node:child_process'
import { mkdir, mkdtemp, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { MAIN, ROOT } from './broker-process.ts'
import { ensureProgram } from './debian-package.ts'
import { type Example, endsAsSaid } from './docs-page.ts'

/** Where the pages say that the broker is. */
const SHOWN = '127.0.0.1:7070'
const EXAMPLE_TIMEOUT_MS = 30_000
const SEPARATOR = '\u001e'

/**
 * As curl is, but quiet; a stream (-N) ends after a while, and an error answer is a failure where the page does
 * not say what is answered.
 */
const CURL = `
curl() {
  local options=(--silent --show-error --max-time 20) streams='' argument status=0
  for argument in "$@"; do [[ $argument == -N || $argument == --no-buffer ]] && streams=yes; done
  [[ $streams ]] && options+=(--max-time 3)
  [[ $STRICT ]] && options+=(--fail-with-body)
  command curl "\${options[@]}" "$@" || status=$?
  [[ $streams && $status == 28 ]] && return 0
  return $status
}`

/** The CLI, and where it finds the broker. */
const TIDINGS = `
tidings() { '${process.execPath}' '${MAIN}' "$@"; }
export TIDINGS_URL=http://${SHOWN}`

/** Throws an error that shows what was printed where that is not what the page says. */
export async function runExample(example: Example, broker: { port: number }): Promise<void> {
  const there = (text: string): string => text.replaceAll(SHOWN, `127.0.0.1:${broker.port}`)
  const command = example.language === 'sh' ? 'bash' : process.execPath
  const args =
    example.language === 'sh'
      ? ['-c', there(shellScript(example))]
      : ['--input-type=module', '-e', there(example.steps[0]!.code)]
  const last = example.steps.at(-1)?.expected ?? ''
  const isDone = (text: string): boolean => example.isEndless && endsAsSaid(there(last), text)
  const { output, complaints, code } = await run(command, args, isDone)
  const printed = output.replaceAll(`127.0.0.1:${broker.port}`, SHOWN).split(SEPARATOR)
  for (const [index, { code: commands, expected }] of example.steps.entries()) {
    const text = printed[index] ?? ''
    if (expected !== null && !endsAsSaid(expected, text)) {
      throw new Error(
        `line ${example.line}\n${commands}\nis to print\n${expected}\nand printed\n${text}\n${complaints}`,
      )
    }
  }
  if (code !== 0 && !example.isEndless) {
    throw new Error(`line ${example.line} ended with ${code}:\n${printed.join('')}\n${complaints}`)
  }
}

function shellScript({ steps }: Example): string {
  const parts = steps.map(({ code, expected }) => `STRICT=${expected === null ? 'yes' : ''}\n${code}`)
  return `set -euo pipefail\n${CURL}\n${TIDINGS}\n${parts.join(`\nprintf '${SEPARATOR}'\n`)}`
}

/** In a directory of its own, which has the checkout's packages and the checkout as one; with a curl at hand. */
async function run(
  command: string,
  args: readonly string[],
  isDone: (output: string) => boolean,
): Promise<{ output: string; complaints: string; code: number | null }> {
  const curl = await ensureProgram('curl')
  const env = { ...process.env, PATH: `${process.env['PATH'] ?? ''}:${dirname(curl)}` }
  const directory = await mkdtemp(join(tmpdir(), 'tidings-docs-'))
  await symlink(join(ROOT, 'node_modules'), join(directory, 'node_modules'))
  const cwd = join(directory, 'project')
  await mkdir(join(cwd, 'node_modules'), { recursive: true })
  await symlink(ROOT, join(cwd, 'node_modules', 'tidings'))
  const child = spawn(command, args, { cwd, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] })
  const end = (): void => {
    if (child.pid !== undefined && child.exitCode === null && child.signalCode === null)
      process.kill(-child.pid, 'SIGKILL')
  }
  const text = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (chunk: string) => {
      text[name] += chunk
      if (isDone(text.stdout)) end()
    })
  }
  const timer = setTimeout(end, EXAMPLE_TIMEOUT_MS)
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject).once('close', (status) => resolve(status))
  })
  clearTimeout(timer)
  await rm(directory, { recursive: true, force: true })
  return { output: text.stdout, complaints: text.stderr, code }
}
