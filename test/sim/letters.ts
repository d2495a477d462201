/**
 * The dead letters of a simulated run, read in peace: each tells of a message that its subscription may have
 * given up on, has that message's value, and is there once for each time that the message may have died.
 */
import { DEAD_LETTER_HEADER, recordHeaders } from '@tidings/sdk/protocol'
import type { Topic } from '../../src/partition/topic.ts'
import { addresseeOf } from '../../src/subscription/addressee.ts'
import { valueAt } from './grip.ts'
import type { Stage } from './stage.ts'
import type { Witness } from './witness.ts'

interface Letter {
  /** Its identity, as copies name it too. */
  subscription: string
  topic: string
  id: string
  value: string
}

export async function judgeLetters(topics: readonly Topic[], stage: Stage, witness: Witness): Promise<void> {
  for (const topic of topics) {
    if (!stage.cast.some(({ deadLetter }) => deadLetter?.topic === topic.name)) continue
    const copies = new Map<string, number>()
    for (const letter of await read(topic)) {
      if (!judge(letter, stage, witness)) continue
      witness.count('dead letter')
      const what = `${letter.subscription} ${letter.topic}/${letter.id}`
      const times = (copies.get(what) ?? 0) + 1
      copies.set(what, times)
      const { deaths } = stage.seatAt(letter.subscription)!.seen
      if (times > 1 + deaths.redrives) throw witness.violated('DUP_DEAD', `${times} dead letters: ${what}`)
    }
  }
}

/** Whether the letter is of this topic and this subscription, and not of earlier ones of these names. */
function judge({ subscription, topic, id, value }: Letter, stage: Stage, witness: Witness): boolean {
  const seen = stage.seatAt(subscription)?.seen
  const scene = witness.topic(topic)
  if (!seen || !scene.of(value)) return false
  const label = `a dead letter of ${subscription}: ${topic}/${id} ${value.slice(0, 12)}`
  const original = scene.at(id)
  if (original && original.value !== value && !scene.of(value)?.isReplacement)
    throw witness.violated('D-DEAD', `there stands ${original.value}: ${label}`)
  if (!seen.mayBeBuried(`${topic}/${id}`)) throw witness.violated('D-DEAD', `was not given up on: ${label}`)
  return true
}

async function read(topic: Topic): Promise<Letter[]> {
  const letters: Letter[] = []
  for (const partition of topic.partitions) {
    for (let offset = partition.startOffset; offset < partition.highWatermark; ) {
      const batches = await partition.load(offset)
      for (const batch of batches) {
        for (let at = Math.max(offset, batch.baseOffset); at < batch.nextOffset; at++) {
          const told = new Map(recordHeaders(batch.bytes, batch.positionOf(at)).headers)
          letters.push({
            subscription: addresseeOf({
              topic: told.get(DEAD_LETTER_HEADER.subscriptionTopic) ?? '',
              name: told.get(DEAD_LETTER_HEADER.subscription) ?? '',
            }),
            topic: told.get(DEAD_LETTER_HEADER.originalTopic) ?? '',
            id: told.get(DEAD_LETTER_HEADER.originalId) ?? '',
            value: valueAt(batch, at),
          })
        }
      }
      offset = batches.at(-1)!.nextOffset
    }
  }
  return letters
}
