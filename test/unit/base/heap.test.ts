/** The heap against the obvious slow thing: a list that is sorted before every look. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Heap, type HeapEntry } from '../../../src/base/heap.ts'

describe('heap', () => {
  it('hands out entries of equal key in the order in which they came', () => {
    const heap = new Heap<string>()
    for (const value of ['a', 'b', 'c', 'd', 'e']) heap.push(7, value)
    heap.push(3, 'first')
    const seen: string[] = []
    for (let entry = heap.pop(); entry; entry = heap.pop()) seen.push(entry.value)
    expect(seen).toEqual(['first', 'a', 'b', 'c', 'd', 'e'])
  })

  it('removes an entry once and refuses it from then on', () => {
    const heap = new Heap<string>()
    const entry = heap.push(1, 'a')
    heap.push(2, 'b')
    expect(heap.remove(entry)).toBe(true)
    expect(heap.remove(entry)).toBe(false)
    const popped = heap.pop()!
    expect(popped.value).toBe('b')
    expect(heap.remove(popped)).toBe(false)
    expect(heap.size).toBe(0)
    expect(heap.peek()).toBeUndefined()
  })

  it('stays in order when the entry that fills a gap belongs further up', () => {
    const heap = new Heap<number>()
    const entries = [0, 10, 1, 11, 12, 2, 3].map((key) => heap.push(key, key))
    // The last entry, 3, takes the place of 11, below 10.
    expect(heap.remove(entries[3]!)).toBe(true)
    const seen: number[] = []
    for (let entry = heap.pop(); entry; entry = heap.pop()) seen.push(entry.value)
    expect(seen).toEqual([0, 1, 2, 3, 10, 12])
  })

  it('refuses an entry of another heap', () => {
    const heap = new Heap<string>()
    heap.push(1, 'mine')
    const foreign = new Heap<string>().push(1, 'theirs')
    expect(heap.remove(foreign)).toBe(false)
    expect(heap.size).toBe(1)
  })

  it('agrees with a sorted list under any mix of push, pop and remove', () => {
    const command = fc.oneof(
      { weight: 3, arbitrary: fc.record({ do: fc.constant('push' as const), key: fc.integer({ min: -5, max: 20 }) }) },
      { weight: 1, arbitrary: fc.record({ do: fc.constant('pop' as const) }) },
      { weight: 1, arbitrary: fc.record({ do: fc.constant('remove' as const), pick: fc.nat() }) },
    )
    fc.assert(
      fc.property(fc.array(command, { maxLength: 200 }), (commands) => {
        const heap = new Heap<number>()
        const model: HeapEntry<number>[] = []
        let pushed = 0
        for (const step of commands) {
          if (step.do === 'push') model.push(heap.push(step.key, pushed++))
          else if (step.do === 'remove' && model.length > 0) {
            const [entry] = model.splice(step.pick % model.length, 1)
            expect(heap.remove(entry!)).toBe(true)
          } else if (step.do === 'pop') expect(heap.pop()).toBe(model.shift())
          // The sort is stable and the model is filled in order of arrival, so ties stay in order.
          model.sort((a, b) => a.key - b.key || a.value - b.value)
          expect(heap.size).toBe(model.length)
          expect(heap.peek()).toBe(model[0])
        }
        while (model.length > 0) expect(heap.pop()).toBe(model.shift())
      }),
      { numRuns: 300 },
    )
  })
})
