// The ways in which a vendor's wire fails, and what a client makes of each:
// one list for both vendors.

/** Each fault with what is seen of it; `healthy` is what the call answers without one. */
export function wireFaults(healthy: string) {
  return [
    [{ reset: 'before' }, 'broken: TypeError'],
    [{ reset: 'after' }, 'broken: TypeError'],
    [{ truncate: true }, 'broken: TypeError'],
    [{ html: true }, '502 text/html no json'],
    [{ respond: { status: 503 } }, '503 application/json json'],
    [{ respond: { status: 503 }, afterWork: true }, '503 application/json json'],
    [{ contentType: 'text/plain' }, healthy.replace('application/json', 'text/plain')],
    [{ bytesPerSecond: 20_000 }, healthy],
    [{ delayMs: 30 }, healthy],
  ] as const
}

/**
 * What a client makes of it: the status with its content type and whether the body was whole
 * JSON, or that nothing came.
 */
export async function outcomeOf(answer: Promise<Response>): Promise<string> {
  try {
    const response = await answer
    const type = (response.headers.get('content-type') ?? 'none').split(';')[0]
    const text = await response.text()
    return `${response.status} ${type} ${text === '' || text.startsWith('{') ? 'json' : 'no json'}`
  } catch (error) {
    return `broken: ${(error as Error).name}`
  }
}
