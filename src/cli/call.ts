/**
 * A command as it was called: its arguments and flags, read and checked. A command asks by name, and only for what its
 * description declares.
 */
import { assert } from '../base/invariant.ts'
import type { Argument, Flag, Words } from './flag.ts'

export type Given = string | number | boolean | null | readonly string[] | object

export class Call {
  readonly command: Words
  readonly #args: readonly string[]
  readonly #flags: ReadonlyMap<string, Given>

  constructor(command: Words, args: readonly string[], flags: ReadonlyMap<string, Given>) {
    this.command = command
    this.#args = args
    this.#flags = flags
  }

  /** An argument that was not left out. */
  arg(name: string): string {
    const value = this.optionalArg(name)
    assert(value !== undefined, `the argument ${name} was not checked`)
    return value
  }

  optionalArg(name: string): string | undefined {
    const index = this.command.args.findIndex((arg: Argument) => arg.name === name)
    assert(index !== -1, `${this.command.path} has no argument ${name}`)
    return this.#args[index]
  }

  isOn(name: string): boolean {
    return this.given(name) === true
  }

  text(name: string): string | undefined {
    return this.given(name) as string | undefined
  }

  list(name: string): readonly string[] {
    return (this.given(name) as readonly string[] | undefined) ?? []
  }

  /** Of a count, of milliseconds or of bytes. */
  number(name: string): number | undefined {
    return this.given(name) as number | undefined
  }

  given(name: string): Given | undefined {
    assert(
      this.command.flags.some((flag: Flag) => flag.name === name),
      `${this.command.path} has no flag --${name}`,
    )
    return this.#flags.get(name)
  }

  /** The settings that its flags name, as the body of a request; what was not given is left out. */
  settings(): Record<string, unknown> {
    const body: Record<string, unknown> = {}
    for (const { name, setting } of this.command.flags) {
      const value = this.#flags.get(name)
      if (setting === undefined || value === undefined) continue
      const [outer, inner] = setting.split('.') as [string, string?]
      if (inner === undefined) body[outer] = value
      else body[outer] = { ...(body[outer] as object | undefined), [inner]: value }
    }
    return body
  }
}
