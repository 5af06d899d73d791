// Which test files may share a process. Most of what a small file costs is the loading of modules:
// files that share a process load them once. A file that looks at what there is once in a process
// gets one of its own, so that no other file can have touched it.
import { globSync, readFileSync } from 'node:fs'
import path from 'node:path'

/**
 * Words of a file that looks at such things: the process's settings, signals, children, output and
 * timers, what its log hides, its telemetry, and the room that all its answers share.
 */
const LOOKS_AT_PROCESS =
  /processRoom|createLogger|redact|telemetry|metrics\b|useFakeTimers|stubEnv|spyOn|process\.(?:on|env|exit|kill|emit|stdout|stderr)|child_process|globalThis|loadConfig|readEnv/i

/** Files by these globs, relative to `root`: those that need a process each, and the others. */
export function byProcess(
  root: string,
  globs: readonly string[],
): { readonly alone: string[]; readonly together: string[] } {
  const files = globSync([...globs], { cwd: root }).toSorted()
  const alone = files.filter((file) => needsOwnProcess(readFileSync(path.join(root, file), 'utf8')))
  return { alone, together: files.filter((file) => !alone.includes(file)) }
}

export function needsOwnProcess(source: string): boolean {
  return LOOKS_AT_PROCESS.test(source)
}
