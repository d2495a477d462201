/**
 * One consumer of the demo, as a process of its own, so that it can really be killed: acknowledges all it gets, and
 * has every delivery in its history file before the acknowledgement leaves. Started by demo.ts with its part as JSON.
 */
import { identify } from '../test/support/drained-run.ts'
import { History, machineTime } from '../test/support/history.ts'
import { RecordingConsumer } from '../test/support/recording-consumer.ts'

export interface ConsumerPart {
  url: string
  topic: string
  subscription: string
  name: string
  historyFile: string
  firstId: number
}

export interface Progress {
  received: number
  confirmed: number
  complaints: unknown[]
}

const part = JSON.parse(process.argv[2]!) as ConsumerPart
const history = new History(machineTime, { firstId: part.firstId, file: part.historyFile })
const consumer = new RecordingConsumer({ ...part, history, identify })

const progress = (): Progress => ({
  received: consumer.received,
  confirmed: consumer.confirmed,
  complaints: consumer.complaints.slice(0, 5),
})
const timer = setInterval(() => process.send?.(progress()), 200)
process.once('disconnect', () => process.exit(1))
process.once('message', () => {
  clearInterval(timer)
  consumer.stop()
  process.send?.(progress(), () => process.exit(0))
})
