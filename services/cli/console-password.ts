// Whether the flag server's console opens with the password that everybody knows.
import { z } from 'zod'
import { httpUrl, readEnv } from '#shared/platform/env.ts'
import { CONSOLE_USER, isDefaultLoginOpen } from '#shared/platform/unleash-console.ts'

/** What to do about it. Unleash applies the password of its settings at its first start only. */
export const CONSOLE_REMEDY =
  'sign in to the console with it and change it there (Profile, Change password); setting ' +
  'UNLEASH_DEFAULT_ADMIN_PASSWORD helps new servers only'

/** Returns what is well. Throws when the default password works, or when the server cannot be asked. */
export async function consolePassword(env: NodeJS.ProcessEnv, signal: AbortSignal): Promise<string> {
  const config = readEnv(
    z.object({ UNLEASH_URL: httpUrl('address of the Unleash API, ending in /api') }),
    env,
  )
  const consoleUrl = config.UNLEASH_URL.replace(/\/api$/, '')
  if (await isDefaultLoginOpen(consoleUrl, signal))
    throw new Error(
      `the user ${CONSOLE_USER} has the password that every Unleash begins with: anybody who reaches it turns every gate`,
    )
  return 'the default password is refused'
}
