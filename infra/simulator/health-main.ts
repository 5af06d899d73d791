// Whether the play vendors answer, for the health check of their container.
const { SIMULATOR_ADMIN_PORT: port } = process.env
const answer = await fetch(`http://127.0.0.1:${port}/admin/clock`, { signal: AbortSignal.timeout(4_000) })
process.exitCode = answer.ok ? 0 : 1
