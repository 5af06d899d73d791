// What README tells people to type, for tests that do it.
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { REPOSITORY } from '../../infra/stack/services.ts'

/** The shell blocks of one section of README. */
export function readmeBlocks(section: string): readonly string[] {
  const readme = readFileSync(path.join(REPOSITORY, 'README.md'), 'utf8')
  const text = readme.split(/^## /m).find((part) => part.startsWith(`${section}\n`)) ?? ''
  return [...text.matchAll(/^```bash\n([\s\S]*?)^```$/gm)].map(([, lines = '']) => lines.trim())
}
