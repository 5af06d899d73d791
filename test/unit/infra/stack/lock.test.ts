import { spawn, type ChildProcess } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { livingHolder, processIdentity } from '#shared/process/identity.ts'
import { takeLock } from '../../../../infra/stack/lock.ts'

let folder: string
let other: ChildProcess | undefined

const holder = () => livingHolder(path.join(folder, 'lock.json'))

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'calstream-lock-'))
})

afterEach(() => {
  other?.kill('SIGKILL')
  rmSync(folder, { recursive: true })
})

test('a free folder is taken, and free again after', () => {
  const lock = takeLock(folder)
  expect(holder()).toBe(process.pid)
  lock[Symbol.dispose]()
  expect(holder()).toBeNull()
  expect(readdirSync(folder)).toEqual([])
})

test('a second start gets one line with the pid and what to do', () => {
  using _lock = takeLock(folder)
  const line = messageOf(() => takeLock(folder))
  expect(line).toContain(`process ${process.pid}`)
  expect(line).toContain(`kill ${process.pid}`)
  expect(line).not.toContain('\n')
})

test('the lock of a process that ended is taken over', async () => {
  const pid = await startOther()
  writeLock({ pid, identity: processIdentity(pid) })
  expect(holder()).toBe(pid)
  expect(messageOf(() => takeLock(folder))).toContain(`process ${pid}`)

  await endOther()

  using _lock = takeLock(folder)
  expect(holder()).toBe(process.pid)
})

test('a pid that a new process got after a reboot does not hold the lock', () => {
  writeLock({ pid: process.pid, identity: `another-boot ${process.pid} 1` })
  using _lock = takeLock(folder)
  expect(holder()).toBe(process.pid)
})

test('a lock file that was cut off while it was written is taken over', () => {
  writeFileSync(path.join(folder, 'lock.json'), '{"pid":')
  using _lock = takeLock(folder)
  expect(holder()).toBe(process.pid)
})

function writeLock(holder: { pid: number; identity: string | null }): void {
  writeFileSync(path.join(folder, 'lock.json'), JSON.stringify(holder))
}

function messageOf(work: () => unknown): string {
  try {
    work()
  } catch (error) {
    return (error as Error).message
  }
  throw new Error('nothing was thrown')
}

async function startOther(): Promise<number> {
  const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' })
  other = child
  await new Promise((resolve) => child.once('spawn', resolve))
  return child.pid as number
}

async function endOther(): Promise<void> {
  const child = other as ChildProcess
  const ended = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGKILL')
  await ended
}
