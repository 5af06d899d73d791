// A Prometheus of this machine, which scrapes and judges in tests and drills.
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { Child, untilReady } from './child.ts'
import { Component } from './component.ts'
import type { ProcessLedger } from './processes.ts'
import type { PrometheusParts } from './prometheus-parts.ts'

export interface PrometheusOptions {
  readonly parts: PrometheusParts
  /** Its data and its settings; made when absent. */
  readonly folder: string
  /** The whole prometheus.yml; file names in it are seen from `folder`. */
  readonly config: string
  readonly port: number
  readonly env: NodeJS.ProcessEnv
  readonly ledger: ProcessLedger
  readonly logFile: string
}

export type Prometheus = Component & { readonly url: string }

const READY_TIMEOUT_MS = 60_000
const STOP_WITHIN_MS = 5_000

/**
 * Starts it on loopback; resolves when it answers queries. Rejects when it refuses its settings.
 */
export async function startPrometheus(options: PrometheusOptions, signal: AbortSignal): Promise<Prometheus> {
  mkdirSync(options.folder, { recursive: true })
  writeFileSync(path.join(options.folder, 'prometheus.yml'), options.config)
  const url = `http://127.0.0.1:${options.port}`
  const component = await Component.start((stop) => launch(options, url, stop), signal)
  return Object.assign(component, { url })
}

async function launch(options: PrometheusOptions, url: string, signal: AbortSignal): Promise<Child> {
  const { parts, folder, port, env, ledger, logFile } = options
  const child = await Child.start(
    {
      name: 'prometheus',
      command: parts.prometheus,
      args: [
        `--config.file=${path.join(folder, 'prometheus.yml')}`,
        `--storage.tsdb.path=${path.join(folder, 'data')}`,
        `--web.listen-address=127.0.0.1:${port}`,
        '--log.level=warn',
      ],
      env,
      cwd: folder,
      logFile,
      stopWithinMs: STOP_WITHIN_MS,
    },
    ledger,
  )
  const probe = async (stop: AbortSignal) => {
    const response = await fetch(`${url}/-/ready`, { signal: stop })
    if (!response.ok) throw new Error(`prometheus answered ${response.status}`)
    await response.arrayBuffer()
  }
  try {
    await untilReady(child, { probe, port }, READY_TIMEOUT_MS, signal)
    return child
  } catch (error) {
    await child.kill()
    throw error
  }
}
