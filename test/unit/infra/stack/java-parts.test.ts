import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { cacheFolder, DownloadMeter, fetchJavaParts, javaMajor } from '../../../../infra/stack/java-parts.ts'

let folder: string
let bin: string

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'calstream-java-'))
  bin = path.join(folder, 'bin')
  mkdirSync(bin)
})

afterEach(() => rmSync(folder, { recursive: true }))

test.each([
  ['openjdk version "17.0.15" 2025-04-15', 17],
  ['java version "1.8.0_392"', 8],
  ['openjdk version "21" 2023-09-19', 21],
  ['Unrecognized option', null],
])('the version in %j is %s', (text, major) => {
  expect(javaMajor(text)).toBe(major)
})

test.each([
  [{ XDG_CACHE_HOME: '/caches' }, '/caches/calstream'],
  [{ XDG_CACHE_HOME: 'relative' }, '/home/x/.cache/calstream'],
  [{}, '/home/x/.cache/calstream'],
])('with %j the cache is %s', (env, expected) => {
  expect(cacheFolder(env, '/home/x')).toBe(expected)
})

describe('fetching', () => {
  test('says in one line what to install when Java is missing', async () => {
    await expect(fetchParts()).rejects.toThrow(/^Java is missing .*apt-get install openjdk-17-jre-headless/)
  })

  test('says in one line what to install when Java is too old', async () => {
    program('java', `echo 'openjdk version "11.0.2"' >&2`)
    await expect(fetchParts()).rejects.toThrow(/^Java 11 is too old\. Install Java 17/)
  })

  test('says in one line what to install when Maven is missing', async () => {
    program('java', `echo 'openjdk version "17.0.2"' >&2`)
    await expect(fetchParts()).rejects.toThrow(/^Maven is missing; .*apt-get install maven/)
  })

  test('leaves nothing behind when Maven fails, names its reason, and works the next time', async () => {
    program('java', `echo 'openjdk version "17.0.2"' >&2`)
    program('mvn', `echo '[ERROR] Unknown host repo'; exit 1`)
    await expect(fetchParts()).rejects.toThrow(/Unknown host repo/)
    expect(readdirSync(path.join(folder, 'cache'))).toEqual([])

    program('mvn', FILLS_THE_FOLDER)
    const parts = await fetchParts()
    expect(parts.registryJar).toMatch(/registry\/apicurio-1-runner\.jar$/)
    expect(existsSync(parts.registryJar)).toBe(true)
  })

  test('does not trust a folder that a killed run had half filled', async () => {
    program('java', `echo 'openjdk version "17.0.2"' >&2`)
    program('mvn', FILLS_THE_FOLDER)
    const { registryJar } = await fetchParts()
    const entry = path.resolve(registryJar, '../..')
    const leftover = `${entry}.${2 ** 30}`
    mkdirSync(path.join(leftover, 'kafka'), { recursive: true })
    rmSync(entry, { recursive: true })

    await fetchParts()

    expect(existsSync(leftover)).toBe(false)
    expect(existsSync(registryJar)).toBe(true)
  })

  test('does not call Maven when the cache is filled', async () => {
    program('java', `echo 'openjdk version "17.0.2"' >&2`)
    program('mvn', FILLS_THE_FOLDER)
    await fetchParts()
    program('mvn', 'exit 1')
    await expect(fetchParts()).resolves.toMatchObject({ java: 'java' })
  })
})

test('the meter adds up finished files and the one that is under way', () => {
  const meter = new DownloadMeter()
  meter.read('Downloaded from central: https://x/kafka.jar (5.0 MB at 9.5 MB/s)\n')
  meter.read('Progress (1): 4.1/142 MB\rProgress (1): 12/142 MB\r')
  expect(meter.line(3_000)).toMatch(/: 17 MB of about \d+ MB, 3 s$/)
  meter.read('Downloaded from central: https://x/registry.tar.gz (142 MB at 40 MB/s)\n')
  expect(meter.line(9_000)).toMatch(/: 147 MB /)
})

const FILLS_THE_FOLDER = `for a in "$@"; do case "$a" in -Dcalstream.parts=*) d="\${a#*=}";; esac; done
/bin/mkdir -p "$d/kafka" "$d/registry"; : > "$d/registry/apicurio-1-runner.jar"`

function program(name: string, script: string): void {
  const file = path.join(bin, name)
  writeFileSync(file, `#!/bin/sh\n${script}\n`)
  chmodSync(file, 0o755)
}

function fetchParts() {
  const options = { cache: path.join(folder, 'cache'), env: { PATH: bin }, progress: () => {} }
  return fetchJavaParts(options, AbortSignal.timeout(20_000))
}
