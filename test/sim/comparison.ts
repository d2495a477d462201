/**
 * What lies on the simulated disk, compared with what clients were told: one message at the moment of its
 * answer, and everything at the end of a run. Called by the scenario.
 */
import { type Finding, verifyAll } from '../../src/log/verify.ts'
import { PARTITIONS_DIRECTORY } from '../../src/partition/log-place.ts'
import type { Topic } from '../../src/partition/topic.ts'
import { addresseeAt, valueAt } from './grip.ts'
import type { Machine } from './machine.ts'
import type { Stage } from './stage.ts'
import type { Witness } from './witness.ts'

/** Whether a power cut now would leave the message's value in some segment of the partition; of all of the topic's files whose directories begin so. */
export function isOnStableStorage(
  { disk }: Machine,
  topicId: string,
  partition: number | string,
  value: string,
): boolean {
  const directory = typeof partition === 'string' ? `/${topicId}-${partition}` : `/${topicId}-${partition}/data/`
  const files = disk.files().filter((path) => path.includes(directory) && path.endsWith('.log'))
  return files.some((path) => disk.durableContent(path)?.includes(value, 0, 'latin1'))
}

/** Reads everything back, ends the broker in good order, and looks at every byte. */
export async function compare(machine: Machine, stage: Stage, witness: Witness): Promise<void> {
  const life = machine.life!
  const topics = stage.topics(life)
  for (const topic of topics) {
    await machine.whileStepping(life, () => readBack(topic, stage, witness))
    if (topic.partitions.some(({ number }) => isTrimmed(machine, topic.id, number))) witness.count('cursor log trimmed')
  }
  // As many partitions as each topic had: `partitions` is gone with the host.
  const known = new Map(life.host.topics().map(({ id, partitions }) => [id, partitions.length]))
  await machine.whileStepping(life, () => life.host.close())
  const disk = machine.disk.mount()
  let findings: Finding[] = []
  await machine.whileStepping({ ...life, state: 'serving' }, async () => {
    const isKnown = (topicId: string, partition: number): boolean => partition < (known.get(topicId) ?? 0)
    const { logs } = await verifyAll(disk, PARTITIONS_DIRECTORY, isKnown)
    findings = logs.flatMap((log) => log.findings)
  })
  const [first] = findings
  if (first) throw witness.violated('S-CRC', `verify found after an orderly end: ${JSON.stringify(first)}`)
}

function isTrimmed({ disk }: Machine, topicId: string, partition: number): boolean {
  const logs = disk.files().filter((path) => path.startsWith(`partitions/${topicId}-${partition}/cursors/`))
  return !logs.some((path) => path.endsWith('/00000000000000000000.log'))
}

async function readBack(topic: Topic, stage: Stage, witness: Witness): Promise<void> {
  for (const partition of topic.partitions) {
    const { startOffset, highWatermark, number } = partition
    const values = new Map<number, string>()
    const scene = witness.topic(topic.name)
    for (let offset = startOffset; offset < highWatermark; ) {
      const batches = await partition.load(offset)
      for (const batch of batches) {
        for (const at of batch.offsets()) {
          if (at < offset) continue
          values.set(at, valueAt(batch, at))
          const addressee = addresseeAt(batch, at)
          if (addressee !== undefined) scene.addressed(`${number}:${at}`, addressee)
          const published = scene.of(valueAt(batch, at))
          if (published) scene.storedAt(published, batch.timestamp)
        }
      }
      offset = batches.at(-1)!.nextOffset
    }
    scene.content(number, startOffset, highWatermark, values)
    for (const { seen } of stage.seatsOf(topic.name)) seen.drained(topic.name, number, startOffset, highWatermark)
    if (startOffset > 0) witness.count(`removed ${stage.scene(topic.name).retention}`)
  }
  witness.topic(topic.name).complete()
}
