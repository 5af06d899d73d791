// The pages that people write. The others are made from code, by drills or by benchmarks.
import { readdirSync } from 'node:fs'
import path from 'node:path'

const ROOT = path.resolve(import.meta.dirname, '../..')
const GENERATED = ['configuration.md', 'errors.md', 'metrics.md', 'why.md', 'simulator.md', 'performance.md']

/** Paths from the top of the repository. */
export const WRITTEN_PAGES: readonly string[] = [
  'README.md',
  'CONTRIBUTING.md',
  'SECURITY.md',
  'CHANGELOG.md',
  'schemas/README.md',
  'infra/kubernetes/README.md',
  ...pagesIn('docs').filter((page) => !GENERATED.includes(path.basename(page))),
  ...pagesIn('docs/adr'),
  ...pagesIn('docs/runbooks'),
]

function pagesIn(folder: string): string[] {
  return readdirSync(path.join(ROOT, folder))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `${folder}/${name}`)
}
