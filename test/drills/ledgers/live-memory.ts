// What a process still needs of its memory, asked through Node's inspector after a garbage
// collection. Resident memory says something else. V8 keeps what one burst took and gives it back
// later, so it moves in steps of tens of MB that no leak is behind.
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { System } from '../environment/system.ts'

export interface LiveMemory {
  readonly instance: string
  readonly pid: number
  /** Objects, and the buffers that they hold outside of the heap. */
  readonly mb: number
}

const OPEN_MS_MAX = 10_000
const ANSWER_MS_MAX = 10_000
const LISTENING = /Debugger listening on (ws:\/\/127\.0\.0\.1:\d+\/[\w-]+)/g

/**
 * Of every running service, one after the other. Each stands still for some 100 ms. Rejects when
 * one does not answer within 10 s.
 */
export async function liveMemory(system: System): Promise<readonly LiveMemory[]> {
  const found: LiveMemory[] = []
  for (const { instance, pid } of system.services.filter(({ running }) => running)) {
    const url = await inspectorOf(path.join(system.folder, 'logs', `${instance}.log`), pid)
    found.push({ instance, pid, mb: await collectAndAsk(url) })
  }
  return found
}

/**
 * SIGUSR1 opens the inspector once (https://nodejs.org/api/process.html#signal-events). The newest
 * line of the log says where.
 */
async function inspectorOf(log: string, pid: number): Promise<string> {
  const before = await listening(log)
  process.kill(pid, 'SIGUSR1')
  const deadline = performance.now() + OPEN_MS_MAX
  while (performance.now() < deadline) {
    const urls = await listening(log)
    const last = urls.at(-1)
    // A second signal to the same process opens nothing anew.
    if (last !== undefined && (urls.length > before.length || (await isOpen(last)))) return last
    await delay(50)
  }
  throw new Error(`the inspector of process ${pid} did not open: see ${path.basename(log)}`)
}

async function listening(log: string): Promise<readonly string[]> {
  return [...(await readFile(log, 'utf8')).matchAll(LISTENING)].map(([, url = '']) => url)
}

async function isOpen(url: string): Promise<boolean> {
  const { host } = new URL(url)
  const answer = await fetch(`http://${host}/json/version`, {
    signal: AbortSignal.timeout(ANSWER_MS_MAX),
  }).catch(() => null)
  await answer?.arrayBuffer()
  return answer?.ok ?? false
}

/** Chrome DevTools Protocol: https://chromedevtools.github.io/devtools-protocol/v8/. */
async function collectAndAsk(url: string): Promise<number> {
  const socket = new WebSocket(url)
  const signal = AbortSignal.timeout(ANSWER_MS_MAX)
  try {
    await heard(socket, 'open', signal)
    await call(socket, { id: 1, method: 'HeapProfiler.collectGarbage' }, signal)
    const expression = 'process.memoryUsage().heapUsed + process.memoryUsage().external'
    const answer = await call(
      socket,
      { id: 2, method: 'Runtime.evaluate', params: { expression, returnByValue: true } },
      signal,
    )
    return Number((answer as { result: { result: { value: number } } }).result.result.value) / 2 ** 20
  } finally {
    socket.close()
  }
}

async function call(socket: WebSocket, message: object, signal: AbortSignal): Promise<unknown> {
  const answer = heard(socket, 'message', signal)
  socket.send(JSON.stringify(message))
  return JSON.parse(String(((await answer) as MessageEvent).data)) as unknown
}

function heard(socket: WebSocket, type: 'open' | 'message', signal: AbortSignal): Promise<Event> {
  return new Promise((resolve, reject) => {
    socket.addEventListener(type, resolve, { once: true, signal })
    socket.addEventListener('error', () => reject(new Error('the inspector closed the connection')), {
      once: true,
      signal,
    })
    signal.addEventListener('abort', () => reject(new Error('the inspector did not answer')), { once: true })
  })
}
