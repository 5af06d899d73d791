// The version of this program. Invariant: package.json alone says it; logs, traces, metrics,
// readiness and `calstream --version` tell it from here.
import { readFileSync } from 'node:fs'
import { z } from 'zod'

/** As semver.org writes it, for example 1.4.0. */
export const VERSION: string = z
  .object({ version: z.string() })
  .parse(JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8'))).version
