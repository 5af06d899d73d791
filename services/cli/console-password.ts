// Whether the flag server's console opens with the password that everybody knows.
import { z } from 'zod'
import { httpUrl, readEnv } from '#shared/process/settings.ts'
import { isDefaultLoginOpen } from '#shared/gates/unleash-console.ts'

/** What to do about it. Unleash applies the password of its settings at its first start only. */
export const CONSOLE_REMEDY =
  'sign in to the console with it and change it there (Profile, Change password); setting ' +
  'UNLEASH_DEFAULT_ADMIN_PASSWORD helps new servers only'

/** Whether the default password works. Throws when the server cannot be asked. */
export async function isConsoleOpen(env: NodeJS.ProcessEnv, signal: AbortSignal): Promise<boolean> {
  const config = readEnv(
    z.object({ UNLEASH_URL: httpUrl('address of the Unleash API, ending in /api') }),
    env,
  )
  return isDefaultLoginOpen(config.UNLEASH_URL.replace(/\/api$/, ''), signal)
}
