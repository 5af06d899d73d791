// No file imports itself by way of others, types included: what stands in a circle can only be
// read and moved as one. The lint rule import/no-cycle follows no dynamic import.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { importsOf, targetOf } from './support/imports.ts'

const ROOT = path.resolve(import.meta.dirname, '..')
const FOLDERS = ['services', 'schemas', 'infra', 'test'] as const

type Graph = ReadonlyMap<string, readonly string[]>

/** File → files that it imports, also dynamically. */
function importGraph(): Graph {
  const files = FOLDERS.flatMap((folder) =>
    readdirSync(path.join(ROOT, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts'))
      .map((name) => path.posix.join(folder, name)),
  )
  return new Map(
    files.map((file) => [
      file,
      importsOf(readFileSync(path.join(ROOT, file), 'utf8')).flatMap(
        ({ specifier }) => targetOf(file, specifier) ?? [],
      ),
    ]),
  )
}

/** The circles of a graph, each as the files on its way; of circles that share files one. */
function circlesOf(graph: Graph): readonly string[] {
  const done = new Set<string>()
  const way: string[] = []
  const found: string[] = []
  const visit = (file: string): void => {
    const at = way.indexOf(file)
    if (at !== -1) found.push([...way.slice(at), file].join(' → '))
    if (at !== -1 || done.has(file)) return
    way.push(file)
    for (const next of graph.get(file) ?? []) visit(next)
    way.pop()
    done.add(file)
  }
  for (const file of graph.keys()) visit(file)
  return found
}

test('no file imports itself by way of others', () => {
  const graph = importGraph()
  expect(graph.size).toBeGreaterThan(500)
  // The control: the graph is no heap of loose files. Some tests hold imports as text.
  const edges = [...graph.values()].flat()
  expect(edges.filter((file) => existsSync(path.join(ROOT, file))).length).toBeGreaterThan(2_000)
  expect(circlesOf(graph)).toEqual([])
})

test('a circle is found, however long', () => {
  const chain = new Map([
    ['a', ['b']],
    ['b', ['c', 'd']],
    ['c', []],
    ['d', []],
  ])
  expect(circlesOf(chain)).toEqual([])
  expect(circlesOf(new Map([...chain, ['d', ['a']]]))).toEqual(['a → b → d → a'])
  expect(circlesOf(new Map([['a', ['a']]]))).toEqual(['a → a'])
})
