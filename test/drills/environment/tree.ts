// A copy of the tree whose services run: for seeded bugs, and for another version.
import { cpSync, mkdirSync, symlinkSync } from 'node:fs'
import path from 'node:path'

/** What a service needs to run: its code, the schemas, the topics and the packages. */
export function copyTree(from: string, to: string): void {
  mkdirSync(to, { recursive: true })
  for (const name of ['services', 'schemas', 'package.json'])
    cpSync(path.join(from, name), path.join(to, name), { recursive: true })
  symlinkSync(path.join(from, 'node_modules'), path.join(to, 'node_modules'))
}
