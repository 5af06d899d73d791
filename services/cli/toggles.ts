// The toggles as the services read them: one look at the flag server with their token.
import { z } from 'zod'
import { GATES } from '#shared/domain/gates.ts'
import type { Toggle } from '#shared/gates/gate-rules.ts'
import { unleashEnv } from '#shared/gates/settings.ts'
import type { Toggles } from '#shared/gates/toggles.ts'
import { readEnv } from '#shared/process/settings.ts'
import { UserError } from '#shared/process/user-error.ts'
import { fetchWithin } from './look.ts'
import { Refusal } from './trouble-kind.ts'

const features = z.object({ features: z.array(z.looseObject({ name: z.string(), enabled: z.boolean() })) })

/**
 * Throws UserError when the flag server does not answer as it should, with what to do;
 * ConfigError without its settings.
 */
export async function readToggles(env: NodeJS.ProcessEnv): Promise<Toggles> {
  const config = readEnv(z.object(unleashEnv), env)
  const url = `${config.UNLEASH_URL}/client/features`
  const answer = await fetchWithin(url, { headers: { authorization: config.UNLEASH_TOKEN.reveal() } })
  if (answer.status === 401 || answer.status === 403)
    throw new Refusal(answer.status, `The flag server refuses UNLEASH_TOKEN (${answer.status}).`)
  if (answer.status !== 200) throw new UserError(`The flag server answered ${answer.status}.`)
  const parsed = features.safeParse(answer.json())
  if (!parsed.success) throw new UserError('What answers at UNLEASH_URL is no flag server.')
  const found = parsed.data.features as unknown as readonly Toggle[]
  return {
    all: new Map(
      GATES.flatMap((gate) => found.filter(({ name }) => name === gate).map((one) => [gate, one])),
    ),
    caps: config,
  }
}
