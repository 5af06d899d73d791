// The rule of schemas/README.md for files of schemas/sql, checked by their text: a file adds, and
// what takes away says of which file it is the second half. Pure.

/** Up to this file the rule did not hold. */
const BASELINE = 15

interface Contraction {
  readonly what: string
  readonly found: RegExp
}

/** What the version before may stumble over, while it runs beside the one of the file. */
const CONTRACTIONS: readonly Contraction[] = [
  { what: 'drops something', found: /\bdrop\b/ },
  { what: 'renames something', found: /\brename\b/ },
  { what: 'refuses null in a column that is there', found: /\bset\s+not\s+null\b/ },
  { what: 'changes the type of a column', found: /\balter\s+(?:column\s+)?\w+\s+(?:set\s+data\s+)?type\b/ },
  { what: 'refuses values by a constraint', found: /\badd\s+(?:constraint|check|unique|primary|foreign)\b/ },
  { what: 'refuses values by a unique index', found: /\bcreate\s+unique\s+index\b/ },
  { what: 'takes a right away', found: /\brevoke\b/ },
  { what: 'empties a table', found: /\btruncate\b/ },
]

/** What is wrong with a file; empty when nothing is. */
export function problemsOf(name: string, sql: string): readonly string[] {
  const number = Number.parseInt(name, 10)
  const compatible = headerOf(sql, 'compatible-with')
  if (compatible === null) return [`${name} has no line "-- compatible-with: NNNNNN"`]
  const problems = compatible > number ? [`${name} is compatible with ${compatible}, which comes later`] : []
  if (number <= BASELINE) return problems
  const contracts = headerOf(sql, 'contract-of')
  if (contracts === null) {
    const found = contractionsOf(sql).map(
      (what) => `${name} ${what}; it has no line "-- contract-of: NNNNNN"`,
    )
    return [...problems, ...found]
  }
  if (contracts >= number) problems.push(`${name} is a contract of ${contracts}, which is not before it`)
  if (compatible < contracts)
    problems.push(`${name} is a contract of ${contracts}, so it is compatible with no version before that`)
  return problems
}

function headerOf(sql: string, name: string): number | null {
  const number = new RegExp(`^-- ${name}: (\\d{6})$`, 'm').exec(sql)?.[1]
  return number === undefined ? null : Number(number)
}

function contractionsOf(sql: string): readonly string[] {
  const code = sql
    .toLowerCase()
    .replaceAll(/--[^\n]*/g, '')
    .replaceAll(/\bcomment\s+on\b(?:'[^']*'|[^;'])*;/g, '')
  const found = CONTRACTIONS.filter(({ found }) => found.test(code)).map(({ what }) => what)
  return addsWithoutDefault(code) ? [...found, 'adds a column that old writers leave out'] : found
}

/** A new column may refuse null only with a default. Up to the comma that stands in no bracket. */
function addsWithoutDefault(code: string): boolean {
  const columns = code.matchAll(/\badd\s+column\b((?:\([^()]*(?:\([^()]*\)[^()]*)*\)|[^,;()])*)/g)
  return [...columns].some(([, column = '']) => /\bnot\s+null\b/.test(column) && !/\bdefault\b/.test(column))
}
