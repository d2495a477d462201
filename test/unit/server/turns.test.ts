import { describe, expect, it } from 'vitest'
import { Turns } from '../../../src/server/turns.ts'

/** A clock that stands still but for what the steps take, and whose turns the test begins. */
class Loop {
  nowMs = 0
  read = 'on'
  readonly done: string[] = []
  readonly turns: Turns
  #next: (() => void)[] = []

  constructor() {
    this.turns = new Turns({
      clock: { monotonic: () => this.nowMs, soon: (run) => void this.#next.push(run) },
      pause: () => (this.read = 'off'),
      resume: () => (this.read = 'on'),
    })
  }

  step(name: string, takesMs: number): void {
    this.turns.take(() => {
      this.done.push(name)
      this.nowMs += takesMs
    })
  }

  turn(): void {
    for (const run of this.#next.splice(0)) run()
  }
}

describe('the frames of one connection', () => {
  it('are handled as they come while they take little', () => {
    const loop = new Loop()
    for (let i = 0; i < 9; i++) loop.step(`${i}`, 1)
    expect([loop.done.length, loop.read]).toEqual([9, 'on'])
  })

  it('wait for the next turn of the event loop when those before them took long, in order, and no more are read', () => {
    const loop = new Loop()
    for (const name of ['a', 'b', 'c', 'd', 'end']) loop.step(name, 6)
    expect([loop.done, loop.read]).toEqual([['a', 'b'], 'off'])
    loop.turn()
    expect([loop.done, loop.read]).toEqual([['a', 'b', 'c', 'd'], 'off'])
    loop.step('late', 0)
    loop.turn()
    expect([loop.done, loop.read]).toEqual([['a', 'b', 'c', 'd', 'end', 'late'], 'on'])
    loop.step('next', 0)
    expect(loop.done.at(-1)).toBe('next')
  })
})
