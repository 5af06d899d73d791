// Where Prometheus comes from: the cache, PATH, or Debian's package unpacked without rights; or one
// line that says what to install.
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { fetchPrometheus, isNewEnough, prometheusVersion } from '../../../../infra/stack/prometheus-parts.ts'

let folder: string
let bin: string

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'calstream-prometheus-'))
  bin = path.join(folder, 'bin')
  mkdirSync(bin)
})
afterEach(() => rmSync(folder, { recursive: true }))

function program(place: string, name: string, script: string): void {
  mkdirSync(place, { recursive: true })
  const file = path.join(place, name)
  writeFileSync(file, `#!/bin/sh\n${script}\n`)
  chmodSync(file, 0o755)
}

const says = (version: string) => `echo "prometheus, version ${version} (branch: debian/sid)"`
const both = (place: string, version: string) => {
  for (const name of ['prometheus', 'promtool']) program(place, name, says(version))
}
const cache = () => path.join(folder, 'cache')
const kept = () => path.join(cache(), 'prometheus/usr/bin')
/** Only our own programs and those of the system's shell are found. */
const fetchParts = () =>
  fetchPrometheus({ cache: cache(), env: { PATH: `${bin}` } }, AbortSignal.timeout(15_000))
/** A dpkg-deb that brings both programs. */
const UNPACKS = `/bin/mkdir -p "$3/usr/bin"; for n in prometheus promtool; do
printf '#!/bin/sh\\necho "prometheus, version 2.42.0+ds"\\n' > "$3/usr/bin/$n"; /bin/chmod 755 "$3/usr/bin/$n"; done`
const DOWNLOADS = 'case "$*" in *download*) : > prometheus_2.42.0_amd64.deb;; esac'

test.each([
  ['prometheus, version 2.42.0+ds (branch: debian/sid, revision: 2.42.0+ds-5)', '2.42.0'],
  ['promtool, version 3.5.0 (branch: HEAD)', '3.5.0'],
  ['no such thing', null],
])('the version in %j is %s', (text, version) => {
  expect(prometheusVersion(text)).toBe(version)
})

test.each([
  ['2.41.0', false],
  ['2.42.0', true],
  ['3.0.1', true],
])('%s is new enough: %s', (version, isEnough) => {
  expect(isNewEnough(version)).toBe(isEnough)
})

describe('fetching', () => {
  test('takes what the cache has, then what PATH has, and asks no one', async () => {
    both(bin, '3.5.0')
    expect(await fetchParts()).toEqual({ prometheus: 'prometheus', promtool: 'promtool', version: '3.5.0' })
    both(kept(), '2.42.0')
    expect(await fetchParts()).toMatchObject({ promtool: path.join(kept(), 'promtool'), version: '2.42.0' })
  })

  test('unpacks the package of Debian into the cache, once', async () => {
    program(bin, 'apt-get', DOWNLOADS)
    program(bin, 'dpkg-deb', UNPACKS)
    expect((await fetchParts()).prometheus).toBe(path.join(kept(), 'prometheus'))
    rmSync(path.join(bin, 'apt-get'))
    expect((await fetchParts()).version).toBe('2.42.0')
    expect(readdirSync(cache())).toEqual(['prometheus'])
  })

  test('reads package lists of its own where the machine has none', async () => {
    program(
      bin,
      'apt-get',
      `case "$*" in *State*update*) : > ../updated;; esac; [ -e ../updated ] || exit 100; ${DOWNLOADS}`,
    )
    program(bin, 'dpkg-deb', UNPACKS)
    expect((await fetchParts()).version).toBe('2.42.0')
    expect(existsSync(path.join(cache(), 'updated'))).toBe(true)
  })

  test('does not take a version that is too old', async () => {
    both(bin, '2.30.0')
    await expect(fetchParts()).rejects.toThrow(/^Prometheus is missing, and apt-get is not here/)
  })

  test('says in one line what to install where there is no apt-get', async () => {
    await expect(fetchParts()).rejects.toThrow(
      /^Prometheus is missing, .*`apt-get install prometheus` .*`brew install prometheus`/,
    )
  })

  test('says what apt-get said, and leaves nothing behind', async () => {
    program(bin, 'apt-get', 'echo "E: Unable to locate package prometheus" >&2; exit 100')
    await expect(fetchParts()).rejects.toThrow(/could not be fetched: E: Unable to locate package/)
    expect(readdirSync(cache())).toEqual([])
  })
})
