// Names in the environment that look like settings of ours and are none: a mistyped name is
// otherwise a default that no person chose. Pure. Invariant: no value is ever repeated.
import { SETTING_NAMES } from './setting-names.gen.ts'

/** A name that begins with one of these words is meant for us. */
const OURS =
  /^(?:ADMIN|API_JW[A-Z]*|CALENDAR|CALSTREAM|CHANNEL|CONSOLE|CREDENTIALS|GOOGLE|INGRESS|KAFKA|MICROSOFT|OAUTH|POSTGRES|SCHEMA_REGISTRY|SYNC|UNLEASH)_/

/**
 * Names of other programs that begin alike. Google Cloud:
 * https://docs.cloud.google.com/docs/authentication/application-default-credentials; Kafka's own
 * scripts: bin/kafka-run-class.sh. Proxies in small letters are read by other programs too.
 */
const OF_OTHERS =
  /^(?:GOOGLE_(?:APPLICATION_CREDENTIALS|CLOUD_\w+)|KAFKA_(?:HOME|OPTS|\w+_OPTS|JMX_\w+)|(?:https?|no|all|ftp)_proxy|CALSTREAM_(?:CRASH_AT|INFRA|INSTALL_MS|REVISION))$/

/**
 * What Kubernetes sets in a container for each Service of its namespace:
 * https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
 */
const SERVICE_LINK = /_SERVICE_(?:HOST|PORT)(?:_\w+)?$|_PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?$/
const SERVICE_LINK_VALUE = /^(?:tcp|udp|sctp):\/\//

/** NAME_FILE holds NAME in a file; NAME_SYNC is NAME for one service in `calstream all`. */
const FORMS = /_(?:FILE|INGRESS|SYNC|RETRY|RELAY|SCHEDULER|CONSOLE|MIGRATE)$/

/** So far apart two names are still the same one, mistyped. */
const TYPO_MAX = 2
/** Shorter names differ by so little from many others. */
const TYPO_LENGTH_MIN = 8

/**
 * One sentence for each variable that is set, looks like a setting of ours and is none; each names
 * the setting that is nearest to it.
 */
export function unknownSettings(
  env: Readonly<Record<string, string | undefined>>,
  known: readonly string[] = SETTING_NAMES,
): readonly string[] {
  const names = new Set(known)
  return Object.entries(env).flatMap(([name, value]) => {
    if (value === undefined || value === '' || isKnown(name, names) || isOfOthers(name, value)) return []
    const { nearest, distance } = nearestTo(name, known)
    const isMistyped = distance <= TYPO_MAX && name.length >= TYPO_LENGTH_MIN
    if (!isMistyped && !OURS.test(name.toUpperCase())) return []
    return [
      `${name} is set and is no setting of calstream, so it has no effect. The nearest one is ${nearest}.`,
    ]
  })
}

function isKnown(name: string, known: ReadonlySet<string>): boolean {
  if (known.has(name)) return true
  const shorter = name.replace(FORMS, '')
  return shorter !== name && isKnown(shorter, known)
}

function isOfOthers(name: string, value: string): boolean {
  return OF_OTHERS.test(name) || SERVICE_LINK.test(name) || SERVICE_LINK_VALUE.test(value)
}

function nearestTo(name: string, known: readonly string[]): { nearest: string; distance: number } {
  const asked = name.toUpperCase()
  const bare = asked.replace(FORMS, '')
  const near = known.map((nearest) => ({
    nearest,
    distance: Math.min(editDistance(asked, nearest), editDistance(bare, nearest)),
  }))
  const [first = { nearest: '', distance: Infinity }] = near.toSorted((a, b) => a.distance - b.distance)
  return first
}

/** Levenshtein's: how many letters are to be put in, taken out or changed. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, column) => column)
  for (const [line, letter] of a.split('').entries()) {
    const next = [line + 1]
    for (const [column, other] of b.split('').entries()) {
      const changed = (row[column] ?? 0) + (letter === other ? 0 : 1)
      next.push(Math.min(changed, (row[column + 1] ?? 0) + 1, (next[column] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? 0
}
