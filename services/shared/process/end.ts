// The end of a process that may not wait. `process.exit` joins Node's own threads first, and a name
// lookup at a silent name server keeps one of them for ten seconds and more. So a stop would
// outlast the grace of its supervisor in an outage of the name service, which is when processes are
// stopped.

/** A program that ends with a code; no option of ours loads anything into it. */
const LAST_PROGRAM = 'process.exit(Number(process.argv[1]))'

/**
 * Ends the process now, whatever its threads are doing: it becomes a program that ends with `code`.
 * A signal to itself would tell another code than that of the end, and Linux ignores it in the
 * first process of a container (pid_namespaces(7)). What was written to stdout before is out: logs
 * are written synchronously.
 * https://nodejs.org/docs/latest-v24.x/api/process.html#processexecvefile-args-env
 */
export function endNow(code: number): void {
  // Not on Windows: there the exit waits.
  process.execve?.(process.execPath, [process.execPath, '-e', LAST_PROGRAM, String(code)], {})
  process.exit(code)
}
