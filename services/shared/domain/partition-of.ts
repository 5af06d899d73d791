// Which partition a key lies in. The producer's partitioner decides it (murmur2, as in Kafka's Java
// clients); this is the same sum without a broker, so that the owner of a connection's partition
// can be named. A test holds the two equal.
// https://github.com/apache/kafka/blob/4.1.0/clients/src/main/java/org/apache/kafka/common/utils/Utils.java

const SEED = 0x9747b28c
const MIX = 0x5bd1e995

/**
 * The partition of a key, for example of a connection's sync requests.
 * @param count how many partitions the topic has; at least 1.
 */
export function partitionOf(key: string, count: number): number {
  // Kafka masks the sign away, which is not the absolute value.
  return (murmur2(new TextEncoder().encode(key)) & 0x7fffffff) % count
}

function murmur2(bytes: Uint8Array): number {
  const whole = bytes.length - (bytes.length % 4)
  let hash = SEED ^ bytes.length
  for (let at = 0; at < whole; at += 4) {
    let word = Math.imul(littleEndian(bytes, at, 4), MIX)
    word = Math.imul(word ^ (word >>> 24), MIX)
    hash = Math.imul(hash, MIX) ^ word
  }
  if (whole < bytes.length) hash = Math.imul(hash ^ littleEndian(bytes, whole, bytes.length - whole), MIX)
  hash = Math.imul(hash ^ (hash >>> 13), MIX)
  return hash ^ (hash >>> 15)
}

function littleEndian(bytes: Uint8Array, from: number, length: number): number {
  let word = 0
  for (let at = 0; at < length; at += 1) word |= (bytes[from + at] ?? 0) << (8 * at)
  return word
}
