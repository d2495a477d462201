/**
 * Puts a deliberate bug over one method of a class for as long as a run takes: how the bug zoo breaks decisions
 * and runners that nobody injects. The source knows nothing of it.
 */

/** Takes the bug away again. */
export type Repair = () => void

type Method = (...args: never[]) => unknown
type Methods<C> = { [K in keyof C]: C[K] extends Method ? K : never }[keyof C]

/** `bug` gets the real method, bound, and what it was called with; what it answers is the answer. */
export function sabotage<C extends object, K extends Methods<C>>(
  prototype: C,
  name: K,
  bug: (
    real: C[K] extends (...args: infer A) => infer R ? (...args: A) => R : never,
    args: C[K] extends (...args: infer A) => unknown ? A : never,
    self: C,
  ) => C[K] extends (...args: never[]) => infer R ? R : never,
): Repair {
  const original = prototype[name] as Method
  const broken = function (this: C, ...args: never[]): unknown {
    return bug(original.bind(this) as never, args as never, this)
  }
  prototype[name] = broken as C[K]
  return () => {
    prototype[name] = original as C[K]
  }
}
