// Figures that a test saw. They are printed and never asserted:
// a loaded machine is no reason to fail.

export function measured(line: string): void {
  process.stderr.write(`measured: ${line}\n`)
}
