/** The partition that a path names, for the routes that read one. */
import { checkName, TidingsError } from '@tidings/sdk/protocol'
import type { Host } from '../cluster/host.ts'
import type { Partition } from '../partition/partition.ts'
import { integerText } from './json-request.ts'

export interface PartitionParams {
  topic: string
  partition: string
}

export function partitionOf(host: Host, params: PartitionParams): Partition {
  const topic = host.topic(checkName('topic', params.topic))
  const number = integerText('partition', params.partition, 0, 0xffff_ffff)
  const partition = topic.partitions[number]
  if (!partition) {
    const count = topic.partitions.length
    throw new TidingsError(
      'partition_not_found',
      `partition ${number}: topic ${topic.name} has ${count}, numbered from 0`,
    )
  }
  return partition
}
