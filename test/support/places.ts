// Places where a secret could lie, as parts that can be searched: logs, tables, topics and the
// arguments of processes. Read past our own code, as somebody who got hold of them would.
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { Kafka, logLevel } from 'kafkajs'
import pg from 'pg'
import { eventually } from './eventually.ts'

/** Where it is, and what lies there: text, or bytes as they lie. */
export type Place = readonly [string, string | Buffer]

/** The logs of a folder, one file a place. */
export function logs(folder: string): readonly Place[] {
  return readdirSync(folder).map((file): Place => [file, readFileSync(path.join(folder, file), 'utf8')])
}

/** Every cell of every table; `databaseUrl` is a superuser's. */
export async function tables(databaseUrl: string): Promise<readonly Place[]> {
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  try {
    const { rows: names } = await client.query<{ name: string }>(
      `select tablename as name from pg_tables where schemaname = 'public'`,
    )
    const found: Place[] = []
    for (const { name } of names) {
      const { rows: content } = await client.query({
        text: `select * from ${pg.escapeIdentifier(name)}`,
        rowMode: 'array',
      })
      // Bytes as they lie in the row: as hex nobody would recognise a text in them.
      const cells = (content as unknown[][])
        .flat()
        .map((cell) =>
          Buffer.isBuffer(cell) ? cell : Buffer.from(typeof cell === 'string' ? cell : JSON.stringify(cell)),
        )
      found.push([`table ${name}`, Buffer.concat(cells.flatMap((cell) => [cell, Buffer.from('\n')]))])
    }
    return found
  } finally {
    await client.end()
  }
}

/** Every record of every topic whose name begins so, its key and headers, uncommitted ones too. */
export async function topics(brokers: string, prefix: string): Promise<readonly Place[]> {
  const kafka = new Kafka({
    brokers: brokers.split(','),
    clientId: 'canary',
    logLevel: logLevel.NOTHING,
  })
  const admin = kafka.admin()
  await admin.connect()
  const names = (await admin.listTopics()).filter((name) => name.startsWith(prefix))
  const ends = new Map<string, number>()
  for (const name of names)
    for (const { partition, high, low } of await admin.fetchTopicOffsets(name))
      if (Number(high) > Number(low)) ends.set(`${name}-${partition}`, Number(high))
  await admin.disconnect()
  const consumer = kafka.consumer({ groupId: `${prefix}canary`, readUncommitted: true })
  await consumer.connect()
  await consumer.subscribe({ topics: names, fromBeginning: true })
  const parts: Place[] = []
  await consumer.run({
    eachBatchAutoResolve: true,
    async eachBatch({ batch }) {
      for (const { key, value, headers } of batch.messages) {
        const held = Object.entries(headers ?? {}).flatMap(([name, text]) => [
          Buffer.from(name),
          Buffer.from(String(text)),
        ])
        parts.push([
          `topic ${batch.topic}`,
          Buffer.concat([key ?? Buffer.alloc(0), value ?? Buffer.alloc(0), ...held]),
        ])
      }
      // Transaction markers take offsets, so the end is reached when the batch says so.
      if (Number(batch.lastOffset()) + 1 >= Number(batch.highWatermark))
        ends.delete(`${batch.topic}-${batch.partition}`)
    },
  })
  try {
    await eventually('all topics to be read', () => ends.size === 0, 60_000)
  } finally {
    await consumer.disconnect()
  }
  return parts
}

/** What anybody on the machine sees of these processes. */
export function processArguments(pids: readonly number[]): readonly Place[] {
  return pids.map((pid) => [`arguments of ${pid}`, readFileSync(`/proc/${pid}/cmdline`, 'utf8')])
}
