// Which certificate a server shows to who connects now.
import { readFileSync } from 'node:fs'
import { connect } from 'node:tls'

const WITHIN_MS = 5_000

/** The serial number, after the certificate was checked against the authority. Throws why not. */
export async function serialShownBy(address: string, caFile: string): Promise<string> {
  const { hostname: host, port } = new URL(`tls://${address}`)
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  const socket = connect({ host, port: Number(port), ca: readFileSync(caFile, 'utf8') })
  socket.setTimeout(WITHIN_MS, () => reject(new Error(`${address} did not answer`)))
  socket.on('secureConnect', () => resolve(socket.getPeerCertificate().serialNumber))
  socket.on('error', reject)
  return promise.finally(() => socket.destroy())
}
