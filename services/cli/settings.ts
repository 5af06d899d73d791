// What the command `calstream` reads from the environment.
import { flagPlaceEnv, unleashEnv } from '#shared/gates/settings.ts'
import { kafkaEnv, registryEnv } from '#shared/kafka/settings.ts'
import { secretText, text, wholeNumber } from '#shared/process/settings.ts'
import { credentialsEnv, postgresEnv, rolePrefixEnv } from '#shared/store/settings.ts'
import { vendorsEnv } from '#shared/vendors/settings.ts'
import { bearerEnv } from '#shared/process/bearer-settings.ts'
import { SERVICES } from './config.ts'

const PARTITIONS = 'partitions of every topic, instead of those in schemas/topics.json'
const REFRESH_TOKENS = 'refresh tokens that `connections add` connects, one a line; else standard input'
const PASSWORDS_FILE =
  'file with the passwords that `migrate` gives the roles: a JSON object, role name → password'

export const flagAdminEnv = {
  UNLEASH_ADMIN_TOKEN: secretText('an admin token of Unleash'),
  ...flagPlaceEnv,
}

export const topicsEnv = {
  KAFKA_PARTITIONS: wholeNumber(PARTITIONS, { min: 1, max: 1_000 }).optional(),
}

export const migrateEnv = { ...rolePrefixEnv, CALSTREAM_ROLE_PASSWORDS_FILE: text(PASSWORDS_FILE).optional() }

/** Where `status` and `doctor` look at the services; `lookAtServices` reads them. */
const placesEnv = Object.fromEntries(
  SERVICES.map((name) => [
    `ADMIN_URL_${name.toUpperCase()}`,
    text(`addresses of the admin ports of ${name}, separated by commas`).optional(),
  ]),
)

/** What none but the command reads. */
export const commandEnv = {
  ...flagAdminEnv,
  ...topicsEnv,
  ...migrateEnv,
  CALSTREAM_REFRESH_TOKEN: secretText(REFRESH_TOKENS).optional(),
  ...placesEnv,
}

/** What one or the other of its commands reads, for docs/configuration.md. */
export const allCommandsEnv = {
  ...kafkaEnv,
  ...registryEnv,
  ...postgresEnv,
  ...unleashEnv,
  ...credentialsEnv,
  ...vendorsEnv,
  ...bearerEnv,
  ...commandEnv,
}
