// How the npm commands answer `--help` and what they cannot read. The text is a file beside the
// entry, so that bootstrap.mjs can show it before any package is installed.
import { readFileSync } from 'node:fs'

/**
 * The text of `<entry>.usage.txt` beside an entry's own file name, as of `import.meta.filename`.
 */
export function usageOf(entry: string): string {
  return readFileSync(entry.replace(/\.ts$/, '.usage.txt'), 'utf8')
}

/**
 * What `parse` makes of the arguments. Ends the process: with 0 and the usage on standard output
 * for --help or -h, with 2 and the reason before the usage on standard error when `parse` throws.
 * Nothing has to be started before.
 */
export function parsedOrUsage<T>(
  entry: string,
  args: readonly string[],
  parse: (args: readonly string[]) => T,
): T {
  if (args.includes('--help') || args.includes('-h')) {
    process.stdout.write(usageOf(entry))
    process.exit(0)
  }
  try {
    return parse(args)
  } catch (error) {
    process.stderr.write(`${reasonOf(error)}\n\n${usageOf(entry)}`)
    process.exit(2)
  }
}

/**
 * Node's parser adds a hint about positionals behind its first sentence,
 * which is wrong for most mistakes.
 */
function reasonOf(error: unknown): string {
  const words = error instanceof Error ? error.message : String(error)
  return words.replace(/ To specify a positional argument starting with a '-'.*$/s, '')
}

/** A whole number from `min` to `max`; throws an Error that names the option. */
export function wholeNumber(
  name: string,
  text: string,
  { min = 1, max }: { readonly min?: number; readonly max: number },
): number {
  const value = Number(text)
  if (/^\d+$/.test(text) && value >= min && value <= max) return value
  throw new Error(`--${name} must be a whole number from ${min} to ${max}, not "${text}".`)
}
