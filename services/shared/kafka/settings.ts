// Where the broker and the schema registry are.
import { z } from 'zod'
import { httpUrl, text } from '#shared/process/settings.ts'

export const kafkaEnv = {
  KAFKA_BROKERS: text('host:port of the brokers, separated by commas')
    .transform((value) => value.split(',').map((broker) => broker.trim()))
    .refine(
      (brokers) =>
        brokers.every(
          (broker) => /^[^\s:]+:\d{1,5}$/.test(broker) || /^\[[\da-f:]+\]:\d{1,5}$/i.test(broker),
        ),
      {
        error: 'it is not a list of host:port',
      },
    )
    .describe('host:port of the brokers, separated by commas'),
  KAFKA_PREFIX: z
    .string()
    .regex(/^[\w.-]{0,64}$/, { error: 'it may hold letters, digits, dot, dash and underscore, at most 64' })
    .default('')
    .describe(
      'text before every topic, subject, group and transactional id, so that several installs can share a broker',
    ),
}

export const registryEnv = { SCHEMA_REGISTRY_URL: httpUrl('address of the schema registry') }
