// Why no coordinator was found. KafkaJS 2.2.4 asks each broker for the coordinator of a group or of
// a transactional id, drops what they answer, and reports `Failed to find group coordinator`: a
// missing right looks like a broker that is away. Nothing that it makes public carries the answer.
// docs/adr has why one method of the library is changed for it.
import { createRequire } from 'node:module'

/** What all brokers say alike, so that asking the next one is no use. */
const REFUSAL = /_AUTHORIZATION_FAILED$/

type WithBroker = (this: object, ask: (place: object) => Promise<unknown>) => Promise<unknown>
interface BrokerPool {
  readonly prototype: { withBroker: WithBroker }
}

let isKept = false

/**
 * From now on a refusal for want of a right is thrown by KafkaJS as the broker told it, when no
 * broker answered otherwise. For all clients of the process; changes one method of the library
 * (https://github.com/tulios/kafkajs/blob/v2.2.4/src/cluster/brokerPool.js, `withBroker`).
 */
export function keepRefusals(): void {
  if (isKept) return
  isKept = true
  const pool = createRequire(import.meta.url)('kafkajs/src/cluster/brokerPool.js') as BrokerPool
  const askEach = pool.prototype.withBroker
  pool.prototype.withBroker = async function (ask) {
    const refusals: Error[] = []
    const answer = await askEach.call(this, async (place) => {
      try {
        return await ask(place)
      } catch (error) {
        if (isRefusal(error)) refusals.push(error)
        throw error
      }
    })
    const [refusal] = refusals
    if (answer === null && refusal !== undefined) throw refusal
    return answer
  }
}

function isRefusal(error: unknown): error is Error {
  return error instanceof Error && 'type' in error && REFUSAL.test(String(error.type))
}
