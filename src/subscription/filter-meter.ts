/**
 * What one evaluation of a filter may cost. A step is about what comparing two numbers takes; whatever takes
 * longer by its input (a long text, a list, a turn of a macro) is charged as more. When the budget is
 * used up the evaluation ends there and then, so an expression cannot hold up the event loop,
 * whatever it says and whatever the message holds.
 */

/** Steps of one evaluation: some 20 ms at the worst on a slow machine. */
export const FILTER_STEPS = 50_000
/** Bytes of a text that are looked at in one step. */
const BYTES_PER_STEP = 64

/** Thrown through the evaluation, past all that would catch an error in the expression. */
export class OutOfSteps extends Error {}

export class Meter {
  /** Steps of the present evaluation so far. */
  spent = 0

  charge(steps: number): void {
    this.spent += steps
    if (this.spent > FILTER_STEPS) throw new OutOfSteps('the filter took too many steps')
  }

  chargeLength(length: number): void {
    this.charge(1 + length / BYTES_PER_STEP)
  }
}
