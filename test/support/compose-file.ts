// docker-compose.yml as Compose reads it, as far as there is something to read without an engine:
// merge keys, `${NAME:-default}`, `NAME:` handed on from .env, and file secrets.
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { parse } from 'yaml'

export const ROOT = path.resolve(import.meta.dirname, '../..')
export const COMPOSE_TEXT = readFileSync(path.join(ROOT, 'docker-compose.yml'), 'utf8')

export interface ComposeService {
  readonly image: string
  readonly command?: readonly string[]
  readonly entrypoint?: readonly string[]
  /** null: handed on from .env or the shell. */
  readonly environment?: Readonly<Record<string, string | null>>
  readonly secrets?: readonly string[]
  readonly ports?: readonly string[]
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>
  readonly healthcheck?: { readonly test?: readonly string[]; readonly [name: string]: unknown }
  readonly profiles?: readonly string[]
  readonly build?: { readonly target?: string }
  readonly user?: string
  readonly restart?: string
  readonly logging?: { readonly driver: string; readonly options: Readonly<Record<string, string>> }
  readonly cap_drop?: readonly string[]
  readonly cap_add?: readonly string[]
  readonly security_opt?: readonly string[]
  readonly mem_limit?: string
  readonly read_only?: boolean
  readonly volumes?: readonly string[]
}

interface Compose {
  readonly services: Readonly<Record<string, ComposeService>>
  readonly secrets: Readonly<Record<string, { readonly file: string }>>
}

export const compose = parse(COMPOSE_TEXT, { merge: true }) as Compose

type Values = Readonly<Record<string, string>>

/** The settings of a file of `NAME=value` lines. */
export function dotenvOf(text: string): Values {
  const lines = [...text.matchAll(/^([A-Z][A-Z0-9_]*)=(.*)$/gm)]
  return Object.fromEntries(lines.map(([, name = '', value = '']) => [name, value]))
}

/**
 * What a container of this service has in its environment. `/run/secrets` is the folder that
 * `calstream init` made.
 */
export function environmentOf(service: string, dotenv: Values, secretsFolder: string): Values {
  const settings = Object.entries(compose.services[service]?.environment ?? {})
  return Object.fromEntries(
    settings.flatMap(([name, value]) => {
      if (value === null) return dotenv[name] === undefined ? [] : [[name, dotenv[name]]]
      return [[name, filledIn(value, dotenv).replace('/run/secrets', secretsFolder)]]
    }),
  )
}

/** The form of Compose: https://docs.docker.com/reference/compose-file/interpolation/ */
function filledIn(text: string, dotenv: Values): string {
  return String(text).replaceAll(
    /\$\{(\w+)(?:(:?[?-])([^}]*))?\}/g,
    (_whole, name: string, kind: string | undefined, rest: string | undefined) => {
      const value = dotenv[name] ?? ''
      if (value !== '') return value
      if (kind?.endsWith('?')) throw new Error(`${name} ${rest}`)
      return rest ?? ''
    },
  )
}
