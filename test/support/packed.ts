/**
 * The packages as users get them: packed by npm from the build in `dist`, and installed from the tarballs into an
 * empty project.
 */
import { execFile } from 'node:child_process'
import { cp, mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { ROOT } from './broker-process.ts'

export interface Packed {
  name: string
  /** Where the tarball lies. */
  path: string
  /** Paths of the files in it, sorted. */
  files: string[]
}

const exec = promisify(execFile)

/** Packs the workspace of that name; `tidings` is the root. */
export async function pack(name: 'tidings' | '@tidings/sdk'): Promise<Packed> {
  const into = await mkdtemp(join(tmpdir(), 'tidings-pack-'))
  const workspace = name === 'tidings' ? [] : ['--workspace', name]
  const { stdout } = await exec('npm', ['pack', '--json', '--pack-destination', into, ...workspace], {
    cwd: ROOT,
    maxBuffer: 64 * 1_048_576,
  })
  const told: unknown = JSON.parse(stdout)
  // npm 12 answers by name, npm 11 and older with a list.
  const [entry] = Object.values(told as Record<string, { filename: string; files: { path: string }[] }>)
  return { name, path: join(into, entry!.filename), files: entry!.files.map(({ path }) => path).sort() }
}

/**
 * A new project with the packages installed as `npm install` does it. Scripts are not run: the native addon is
 * taken from the checkout, where the same version was built already.
 */
export async function installedProject(packages: readonly Packed[]): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'tidings-project-'))
  await writeFile(join(directory, 'package.json'), '{"name":"empty","private":true,"type":"module"}\n')
  const paths = packages.map(({ path }) => path)
  const options = ['--no-audit', '--no-fund', '--ignore-scripts', '--prefer-offline']
  await exec('npm', ['install', ...options, ...paths], { cwd: directory, maxBuffer: 64 * 1_048_576 })
  if (packages.some(({ name }) => name === 'tidings')) {
    const addon = join('node_modules', 'better-sqlite3')
    const [there, here] = await Promise.all(
      [ROOT, directory].map(async (place) => JSON.parse(await readFile(join(place, addon, 'package.json'), 'utf8'))),
    )
    if (there.version !== here.version)
      throw new Error(`better-sqlite3 ${here.version} came, ${there.version} is built`)
    await mkdir(join(directory, addon, 'build'), { recursive: true })
    await cp(join(ROOT, addon, 'build', 'Release'), join(directory, addon, 'build', 'Release'), { recursive: true })
  }
  return directory
}

/** Runs a program in a directory; throws with what it printed when it fails. */
export async function run(directory: string, program: string, args: readonly string[]): Promise<string> {
  try {
    return (await exec(program, args, { cwd: directory, timeout: 60_000, maxBuffer: 64 * 1_048_576 })).stdout
  } catch (error) {
    const { stdout, stderr } = error as { stdout?: string; stderr?: string }
    throw new Error(`${program} ${args.join(' ')} failed:\n${stdout ?? ''}${stderr ?? ''}`, { cause: error })
  }
}
