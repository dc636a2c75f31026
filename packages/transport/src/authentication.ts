/**
 * AUTHENTICATE: both ends show that they know the cluster key, and neither tells it. A proof is an HMAC-SHA-256 under the key of
 * what nobody says twice:
 *
 *   "tributary authenticate 1" side role clientNonce serverNonce binding
 *
 * each ended by NUL. `side` is who proves, so that a proof cannot be sent back; `role` is the server's, so that what is shown to a
 * tracker is no good at a storage server; the nonces are those of the two HELLOs; `binding` is keying material of the TLS
 * connection (RFC 5705), so that nobody in between can hand a proof on, or nothing where there is no TLS.
 */
import { createHmac, timingSafeEqual } from 'node:crypto'
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import type { Role } from '@tributary/protocol'

const DOMAIN = 'tributary authenticate 1'
const BINDING_LABEL = 'EXPORTER-tributary-authenticate'
const BINDING_BYTES = 32
export interface ProofOf {
  side: 'client' | 'server'
  /** Of the server. */
  role: Role
  clientNonce: string
  serverNonce: string
  /** See `bindingOf`. */
  binding: string
}

/** 32 bytes, hexadecimal. */
export function proofOf(
  clusterKey: string,
  { side, role, clientNonce, serverNonce, binding }: ProofOf
): string {
  const said = [DOMAIN, side, role, clientNonce, serverNonce, binding].join('\0')
  return createHmac('sha256', clusterKey).update(`${said}\0`).digest('hex')
}

export function isProof(given: string, clusterKey: string, of: ProofOf): boolean {
  const expected = Buffer.from(proofOf(clusterKey, of), 'hex')
  const shown = Buffer.from(given, 'hex')
  return shown.byteLength === expected.byteLength && timingSafeEqual(shown, expected)
}

/** What both ends of a TLS connection know and nobody else does; empty where there is no TLS. */
export function bindingOf(socket: Socket): string {
  if (!(socket instanceof TLSSocket)) return ''
  return socket.exportKeyingMaterial(BINDING_BYTES, BINDING_LABEL, Buffer.alloc(0)).toString('hex')
}
