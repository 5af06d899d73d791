// What a file of the repository imports, for tests that look at the tree.
import path from 'node:path'

export interface Import {
  readonly clause: string
  readonly specifier: string
}

/** The imports and re-exports of a source, types and dynamic ones included. */
export function importsOf(source: string): Import[] {
  const pattern =
    /(?:^|\n)\s*(?:import|export)\s+(?:type\s+)?([^'"`;]*?)\s*from\s*['"]([^'"]+)['"]|import\(\s*['"]([^'"]+)['"]\s*\)|(?:^|\n)\s*import\s+['"]([^'"]+)['"]/g
  return [...source.matchAll(pattern)].map((match) => ({
    clause: match[1] ?? '',
    specifier: match[2] ?? match[3] ?? match[4] ?? '',
  }))
}

/** The file of the repository that a specifier means in `file`; null for a package. */
export function targetOf(file: string, specifier: string): string | null {
  if (specifier.startsWith('#shared/')) return specifier.replace('#shared/', 'services/shared/')
  if (specifier.startsWith('#schemas/')) return specifier.replace('#schemas/', 'schemas/')
  if (specifier.startsWith('.'))
    return path.posix.normalize(path.posix.join(path.posix.dirname(file), specifier))
  return null
}
