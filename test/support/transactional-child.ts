// A process of its own with one transactional producer, for tests that freeze it. Says `open`, then
// publishes one record for each line on standard input (the line is the value) and answers
// `published` or the code of the failure.
import { createInterface } from 'node:readline'
import { asFailure } from '#shared/domain/failure.ts'
import { openTransactionalProducer } from '#shared/kafka/open.ts'
import { silent } from './recording-consumer.ts'

const [brokers = '', prefix = '', transactionalId = '', topic = ''] = process.argv.slice(2)
const producer = await openTransactionalProducer(
  { brokers: [brokers], prefix, clientId: 'child', transactionalId, timeoutMs: 15_000 },
  silent(),
)
process.stdout.write('open\n')
for await (const line of createInterface({ input: process.stdin })) {
  try {
    await producer.publish([{ topic, key: 'k', value: Buffer.from(line), headers: {} }])
    process.stdout.write('published\n')
  } catch (error) {
    process.stdout.write(`${asFailure(error).code}\n`)
  }
}
await producer[Symbol.asyncDispose]()
