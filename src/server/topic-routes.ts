/** Topics: create and change, list, look at, delete. The host checks and decides; this is its JSON. */
import { checkName } from '@tidings/sdk/protocol'
import type { FastifyInstance } from 'fastify'
import type { Host } from '../cluster/host.ts'
import type { Topic } from '../partition/topic.ts'

interface TopicParams {
  topic: string
}

export function topicRoutes(app: FastifyInstance, host: Host): void {
  app.get('/v1/topics', async () => ({ topics: host.facts.topics().map(settingsJson) }))

  app.put<{ Params: TopicParams }>('/v1/topics/:topic', async (request, reply) => {
    const { topic, created } = await host.putTopic(checkName('topic', request.params.topic), request.body ?? {})
    return reply.code(created ? 201 : 200).send(topicJson(topic, host))
  })

  app.get<{ Params: TopicParams }>('/v1/topics/:topic', async (request) =>
    topicJson(host.topic(checkName('topic', request.params.topic)), host),
  )

  app.delete<{ Params: TopicParams }>('/v1/topics/:topic', async (request, reply) => {
    await host.deleteTopic(checkName('topic', request.params.topic))
    return reply.code(204).send()
  })
}

function settingsJson({ name, settings }: Pick<Topic, 'name' | 'settings'>): object {
  return { name, ...settings }
}

function topicJson(topic: Topic, host: Host): object {
  const { leader, replicas, isr } = host.facts.copiesOf(topic.id)
  const whyRetained = host.whyRetained(topic.name)
  return {
    ...settingsJson(topic),
    partitionStates: topic.partitions.map((partition) => ({
      partition: partition.number,
      earliestOffset: partition.startOffset,
      nextOffset: partition.nextOffset,
      highWatermark: partition.highWatermark,
      bytes: partition.bytes,
      segments: partition.segments.length,
      leader,
      replicas,
      isr,
      epoch: partition.epoch,
      whyRetained: whyRetained[partition.number] ?? null,
    })),
  }
}
