/**
 * What checking one value against a schema may cost: a schema can be written so that a small value takes for
 * ever (references that branch, patterns, comparisons), and the event loop belongs to everybody. Every
 * subschema that looks at a part of the value takes a step, patterns and formats take steps by what they
 * read; past the limit the check ends with OutOfSteps. A decision; schema.ts resets it for each value.
 */

/** About a tenth of a second at worst. */
export const STEPS_MAX = 1_000_000

export class OutOfSteps extends Error {}

export class SchemaMeter {
  #left = STEPS_MAX

  reset(): void {
    this.#left = STEPS_MAX
  }

  charge(steps: number): void {
    this.#left -= steps
    if (this.#left < 0) throw new OutOfSteps('out of steps')
  }
}
