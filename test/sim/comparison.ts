/**
 * What lies on the simulated disk, compared with what clients were told: one message at the moment of its
 * answer, and everything at the end of a run. Called by the scenario.
 */
import { type Finding, verifyAll } from '../../src/log/verify.ts'
import { PARTITIONS_DIRECTORY } from '../../src/partition/partition.ts'
import type { Topic } from '../../src/partition/topic.ts'
import { valueAt } from './clients.ts'
import type { Machine } from './machine.ts'
import type { SubscriptionWitness, Witness } from './witness.ts'

/** Whether a power cut now would leave the message's value in some segment of the partition. */
export function isOnStableStorage({ disk }: Machine, partition: number, value: string): boolean {
  const files = disk.files().filter((path) => path.includes(`-${partition}/data/`) && path.endsWith('.log'))
  return files.some((path) => disk.durableContent(path)?.includes(value, 0, 'latin1'))
}

/** Reads everything back, ends the broker in good order, and looks at every byte. */
export async function compare(
  machine: Machine,
  name: string,
  witness: Witness,
  subscriptions: readonly SubscriptionWitness[],
): Promise<void> {
  const life = machine.life!
  const topic = life.host.topics().find((one) => one.name === name)!
  await machine.whileStepping(life, () => readBack(topic, witness, subscriptions))
  const { id, partitions } = topic
  const trimmed = partitions.some(({ number }) => {
    const logs = machine.disk.files().filter((path) => path.startsWith(`partitions/${id}-${number}/cursors/`))
    return !logs.some((path) => path.endsWith('/00000000000000000000.log'))
  })
  if (trimmed) witness.count('cursor log trimmed')
  const count = partitions.length
  await machine.whileStepping(life, () => life.host.close())
  const disk = machine.disk.mount()
  let findings: Finding[] = []
  await machine.whileStepping({ ...life, state: 'serving' }, async () => {
    const isKnown = (topicId: string, partition: number): boolean => topicId === id && partition < count
    const { logs } = await verifyAll(disk, PARTITIONS_DIRECTORY, isKnown)
    findings = logs.flatMap((log) => log.findings)
  })
  const [first] = findings
  if (first) throw witness.violated('S-CRC', `verify found after an orderly end: ${JSON.stringify(first)}`)
}

async function readBack(topic: Topic, witness: Witness, subscriptions: readonly SubscriptionWitness[]): Promise<void> {
  for (const partition of topic.partitions) {
    const { startOffset, highWatermark, number } = partition
    const values: string[] = []
    for (let offset = startOffset; offset < highWatermark; ) {
      const batches = await partition.load(offset)
      for (const batch of batches) {
        for (let at = Math.max(offset, batch.baseOffset); at < batch.nextOffset; at++) values.push(valueAt(batch, at))
      }
      offset = batches.at(-1)!.nextOffset
    }
    witness.content(number, startOffset, values)
    for (const seen of subscriptions) witness.drained(seen, number, startOffset, highWatermark)
  }
}
