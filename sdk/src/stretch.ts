/** Offsets [from, to) of a partition, and lists of them that stay short where neighbours come after each other. Pure. */

export interface Stretch {
  topic: string
  partition: number
  from: number
  to: number
}

/** Adds a stretch to the list, to the last one where it goes on from there. */
export function append(list: Stretch[], topic: string, partition: number, from: number, to: number): void {
  const last = list.at(-1)
  if (last?.to === from && last.partition === partition && last.topic === topic) last.to = to
  else list.push({ topic, partition, from, to })
}

/** In order of place and offset. */
export function inOrder(a: Stretch, b: Stretch): number {
  if (a.topic !== b.topic) return a.topic < b.topic ? -1 : 1
  return a.partition - b.partition || a.from - b.from
}

export function sizeOf(list: readonly Stretch[]): number {
  let count = 0
  for (const { from, to } of list) count += to - from
  return count
}

/** Whether an offset is in one of the stretches, which are in order and do not overlap. */
export function holds(list: readonly Stretch[], topic: string, partition: number, offset: number): boolean {
  let low = 0
  let high = list.length
  const sought = { topic, partition, from: offset, to: offset }
  while (low < high) {
    const middle = (low + high) >> 1
    if (inOrder(list[middle]!, sought) <= 0) low = middle + 1
    else high = middle
  }
  const found = list[low - 1]
  return found !== undefined && found.topic === topic && found.partition === partition && offset < found.to
}
