// One process of Apache Kafka in KRaft mode, alone or one of several: how its data is made,
// and how it is started and waited for. Formatting happens beside the data and is renamed
// into place, so data is either absent or whole.
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { UserError } from '#shared/process/user-error.ts'
import { Child, type Probe, untilReady } from './child.ts'
import { archiveArguments } from './class-archive.ts'
import type { JavaParts } from './java-parts.ts'
import { type ProcessLedger, writeWhole } from './processes.ts'

export interface KafkaNode {
  /** Of the process, and of its log. */
  readonly name: string
  readonly parts: JavaParts
  /** Holds data and settings; made when absent. */
  readonly folder: string
  readonly logFile: string
  /** For its controlled shutdown; then it is killed. */
  readonly stopWithinMs: number
  /** It lives for minutes: compiling for speed would cost more than that saves. */
  readonly brief: boolean
  readonly env: NodeJS.ProcessEnv
  readonly ledger: ProcessLedger
  /** What this node adds to the sizing that all have. */
  readonly properties: Readonly<Record<string, string>>
  /** Logins that exist from the first moment, as SCRAM-SHA-512. */
  readonly logins?: readonly { readonly name: string; readonly password: string }[]
  /** Where clients come in, on 127.0.0.1. */
  readonly port: number
  /** A round trip through this node. */
  readonly probe: Probe
  /** Where it writes its classes when it ends; without, it starts with those that are there. */
  readonly recordsTo?: string
}

/** Recovery of many partitions after a kill on a loaded small machine. */
const READY_TIMEOUT_MS = 240_000
/**
 * 22 characters of base64url are 16 bytes: any constant will do, there is one cluster per folder.
 */
const CLUSTER_ID = 'Y2Fsc3RyZWFtLWxvY2FsMQ'
/** Of a start that takes 4.0 s of a processor, 2.5 s are left, and half of the tool's 1.5 s. */
const BRIEF = ['-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC'] as const

/** Few partitions for the internal topics, small buffers and segments: one small machine. */
const SIZING: Readonly<Record<string, string>> = {
  'auto.create.topics.enable': 'false',
  'offsets.topic.num.partitions': '4',
  'transaction.state.log.num.partitions': '4',
  'group.initial.rebalance.delay.ms': '0',
  'num.network.threads': '2',
  'num.io.threads': '4',
  'log.segment.bytes': '67108864',
  'offsets.topic.segment.bytes': '16777216',
  'transaction.state.log.segment.bytes': '16777216',
  // Reserved per segment, so with some hundred partitions the default of 10 MB adds up.
  'log.index.size.max.bytes': '1048576',
  'log.retention.hours': '168',
  // The default of 128 MB would take a third of the heap.
  'log.cleaner.dedupe.buffer.size': '16777216',
}

/**
 * Starts the node, making its data first when there is none; resolves when the probe succeeds.
 * Leaves nothing running when it throws: a UserError with the end of the log.
 */
export async function launchNode(node: KafkaNode, signal: AbortSignal): Promise<Child> {
  mkdirSync(node.folder, { recursive: true })
  const data = path.join(node.folder, 'data')
  const settings = path.join(node.folder, 'server.properties')
  if (!existsSync(path.join(data, 'meta.properties'))) await format(node, data, signal)
  writeFileSync(settings, propertiesText(node, data))
  const child = await Child.start(
    {
      name: node.name,
      command: node.parts.java,
      args: [...javaArguments(node, node.recordsTo), 'kafka.Kafka', settings],
      env: node.env,
      cwd: node.folder,
      logFile: node.logFile,
      stopWithinMs: node.stopWithinMs,
    },
    node.ledger,
  )
  try {
    await untilReady(child, node, READY_TIMEOUT_MS, signal)
  } catch (error) {
    await child.kill()
    throw error
  }
  return child
}

function javaArguments({ parts, brief }: KafkaNode, recordsTo?: string): readonly string[] {
  return [
    '-Xmx384m',
    ...(brief ? BRIEF : []),
    ...archiveArguments(parts.kafkaArchive, recordsTo),
    '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn',
    '-Dorg.slf4j.simpleLogger.showDateTime=true',
    '-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS',
    '-cp',
    parts.kafkaClassPath,
  ]
}

function propertiesText({ properties }: KafkaNode, data: string): string {
  const all = { ...SIZING, ...properties, 'log.dirs': data.replaceAll('\\', '/') }
  return Object.entries(all)
    .map(([key, value]) => `${key}=${value}\n`)
    .join('')
}

async function format(node: KafkaNode, data: string, signal: AbortSignal): Promise<void> {
  const temporary = `${data}.new`
  rmSync(temporary, { recursive: true, force: true })
  rmSync(data, { recursive: true, force: true })
  const settings = path.join(node.folder, 'format.properties')
  writeFileSync(settings, propertiesText(node, temporary))
  // Everybody on the machine can read arguments: passwords come in a file, one argument a line.
  const logins = path.join(node.folder, 'format.logins')
  writeWhole(logins, loginArguments(node).join('\n'))
  const args = [
    ...javaArguments({ ...node, brief: true }),
    'kafka.tools.StorageTool',
    'format',
    '-t',
    CLUSTER_ID,
    '-c',
    settings,
    ...(node.logins ? [`@${logins}`] : []),
  ]
  try {
    await runTool(node, args, signal)
  } finally {
    rmSync(logins, { force: true })
  }
  renameSync(temporary, data)
}

function loginArguments({ logins = [] }: KafkaNode): readonly string[] {
  return logins.flatMap(({ name, password }) => [
    '--add-scram',
    `SCRAM-SHA-512=[name="${name}",password="${password}"]`,
  ])
}

async function runTool(node: KafkaNode, args: readonly string[], signal: AbortSignal): Promise<void> {
  const tool = spawn(node.parts.java, args, { env: node.env, stdio: ['ignore', 'pipe', 'pipe'], signal })
  let output = ''
  for (const stream of [tool.stdout, tool.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      output = `${output}${text}`.slice(-4_000)
    })
  const code = await new Promise<number | null>((resolve, reject) => {
    tool.once('error', reject)
    tool.once('close', resolve)
  })
  if (code !== 0)
    throw new UserError(`The data folder of ${node.name} could not be prepared: ${toldWithout(output, node)}`)
}

/** The tool repeats an argument that it cannot read. */
function toldWithout(output: string, { logins = [] }: KafkaNode): string {
  return logins.reduce((text, { password }) => text.replaceAll(password, '…'), output.trim())
}
