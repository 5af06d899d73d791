// Settings of the simulator. Everything has a default except ports, where 0 means any free one.
import { existsSync, readFileSync } from 'node:fs'

export interface SimulatorConfig {
  readonly googlePort: number
  /** Absent = any free one. */
  readonly microsoftPort?: number
  readonly adminPort: number
  /** Interface of all ports; 127.0.0.1 when absent, 0.0.0.0 inside a container. */
  readonly host?: string
  /** Where the world is journalled; absent = it dies with the process. */
  readonly dataDir?: string
  /** Reproduces ids, contents, page cuts and deliveries. */
  readonly seed?: string
  /** Added to each vendor API call. */
  readonly latencyMs?: number
  /** Takes loopback http callback addresses, which Google would refuse. */
  readonly allowHttpCallbacks?: boolean
  /** The host that callbacks to loopback go to; loopback itself when absent. */
  readonly loopbackHost?: string
  /**
   * `manual` moves only by POST /admin/clock;
   * else the clock runs with the wall clock and can be advanced.
   */
  readonly clock?: 'running' | 'manual'
  /** First instant of a manual clock, ms epoch; absent = now. */
  readonly clockStart?: number
  /** A scenario (scenario/plan.ts) to start with, unless the journal brings one back. */
  readonly scenario?: string
  readonly clientId?: string
  readonly clientSecret?: string
  /** The app's client at Microsoft; the same as at Google when absent. */
  readonly microsoftClientId?: string
  readonly microsoftClientSecret?: string
}

/** Reads the environment; throws once, naming every variable that cannot be used. */
export function loadConfig(env: NodeJS.ProcessEnv): SimulatorConfig {
  const problems: string[] = []
  const integer = (name: string, max: number): number => {
    const text = env[name] ?? '0'
    const value = Number(text)
    if (/^\d+$/.test(text) && value <= max) return value
    problems.push(`${name}: a whole number from 0 to ${max} is expected, not "${text}".`)
    return 0
  }
  const flag = (name: string): boolean => {
    const text = env[name] ?? 'false'
    if (text !== 'true' && text !== 'false')
      problems.push(`${name}: true or false is expected, not "${text}".`)
    return text === 'true'
  }
  const clock = env['SIMULATOR_CLOCK'] ?? 'running'
  if (clock !== 'running' && clock !== 'manual')
    problems.push(`SIMULATOR_CLOCK: running or manual is expected, not "${clock}".`)
  const startText = env['SIMULATOR_CLOCK_START'] ?? ''
  const clockStart = Date.parse(startText)
  if (startText !== '' && Number.isNaN(clockStart))
    problems.push(`SIMULATOR_CLOCK_START: an RFC 3339 time is expected, not "${startText}".`)
  const scenarioFile = env['SIMULATOR_SCENARIO'] ?? ''
  if (scenarioFile !== '' && !existsSync(scenarioFile))
    problems.push(`SIMULATOR_SCENARIO: there is no file "${scenarioFile}".`)
  const value = (name: string): string => {
    const file = env[`${name}_FILE`] ?? ''
    if (file === '') return env[name] ?? ''
    if (existsSync(file)) return readFileSync(file, 'utf8').trim()
    problems.push(`${name}_FILE: there is no file "${file}".`)
    return ''
  }
  const given = <K extends string>(key: K, name: string) =>
    value(name) === '' ? {} : ({ [key]: value(name) } as Record<K, string>)
  const config: SimulatorConfig = {
    googlePort: integer('SIMULATOR_GOOGLE_PORT', 65_535),
    microsoftPort: integer('SIMULATOR_MICROSOFT_PORT', 65_535),
    adminPort: integer('SIMULATOR_ADMIN_PORT', 65_535),
    latencyMs: integer('SIMULATOR_LATENCY_MS', 600_000),
    allowHttpCallbacks: flag('SIMULATOR_ALLOW_HTTP_CALLBACKS'),
    clock: clock === 'manual' ? 'manual' : 'running',
    ...(startText === '' ? {} : { clockStart }),
    ...(existsSync(scenarioFile) ? { scenario: readFileSync(scenarioFile, 'utf8') } : {}),
    ...given('host', 'SIMULATOR_HOST'),
    ...given('loopbackHost', 'SIMULATOR_LOOPBACK_HOST'),
    ...given('dataDir', 'SIMULATOR_DATA_DIR'),
    ...given('seed', 'SIMULATOR_SEED'),
    ...given('clientId', 'SIMULATOR_CLIENT_ID'),
    ...given('clientSecret', 'SIMULATOR_CLIENT_SECRET'),
    ...given('microsoftClientId', 'SIMULATOR_MICROSOFT_CLIENT_ID'),
    ...given('microsoftClientSecret', 'SIMULATOR_MICROSOFT_CLIENT_SECRET'),
  }
  if (problems.length > 0) throw new Error(`The simulator cannot start:\n  ${problems.join('\n  ')}`)
  return config
}
