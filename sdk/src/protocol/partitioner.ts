/**
 * Which partition a key belongs to: murmur2 as in Kafka's default partitioner, so that other
 * clients of the same data agree (org.apache.kafka.common.utils.Utils.murmur2, seed 0x9747b28c).
 */

/** murmur2 of the bytes, or of those in [from, to), as a signed 32-bit integer. */
export function murmur2(bytes: Uint8Array, from = 0, to: number = bytes.length): number {
  const length = to - from
  const m = 0x5bd1e995
  let h = 0x9747b28c ^ length
  let i = from
  for (; i + 4 <= to; i += 4) {
    let k = bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24)
    k = Math.imul(k, m)
    k ^= k >>> 24
    k = Math.imul(k, m)
    h = Math.imul(h, m) ^ k
  }
  const rest = to - i
  if (rest >= 3) h ^= bytes[i + 2]! << 16
  if (rest >= 2) h ^= bytes[i + 1]! << 8
  if (rest >= 1) {
    h ^= bytes[i]!
    h = Math.imul(h, m)
  }
  h ^= h >>> 13
  h = Math.imul(h, m)
  h ^= h >>> 15
  return h | 0
}

/** The partition of a key: its hash without the sign bit, modulo the number of partitions. */
export function partitionOf(key: Uint8Array, partitions: number): number {
  return (murmur2(key) & 0x7fffffff) % partitions
}
