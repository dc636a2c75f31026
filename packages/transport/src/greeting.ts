/** HELLO, the handshake of our own programs: what we say, and whether we can go on with what we heard. */
import { extension, ProtocolError, type Hello } from '@tributary/protocol'
import type { WireTls } from './wire-tls.ts'

export interface Greeting {
  role: 'tracker' | 'id' | 'storage' | 'client'
  /** Cluster UUID, or '' where it is not known. */
  cluster: string
  /** Version of this program, for the peer's log. */
  version: string
  /** What every program of the cluster knows; undefined: nobody has to prove anything. */
  clusterKey?: string | undefined
  /** Of a program that connects: it speaks TLS to every server; undefined: to none. */
  tls?: WireTls | undefined
}

const NONCE_BYTES = 16

/** 16 random bytes, hexadecimal: never said twice, so that no proof is good twice. */
export function makeNonce(): string {
  return Buffer.from(crypto.getRandomValues(new Uint8Array(NONCE_BYTES))).toString('hex')
}

export function encodeGreeting(
  { role, cluster, version, clusterKey }: Greeting,
  nonce = makeNonce()
): Buffer {
  return extension.hello.encode({
    protocolMin: extension.PROTOCOL_VERSION_MIN,
    protocolMax: extension.PROTOCOL_VERSION_MAX,
    role,
    cluster,
    features: extension.OWN_FEATURES | (clusterKey === undefined ? 0 : extension.FEATURES.AUTHENTICATE),
    timeMs: Date.now(),
    nonce,
    version
  })
}

/**
 * Reads the other side's HELLO.
 *
 * @throws {ProtocolError} VERSION_UNSUPPORTED: no version in common. WRONG_CLUSTER: it belongs to another cluster.
 */
export function checkGreeting(body: Buffer, own: Greeting): Hello {
  const hello = extension.hello.decode(body)
  if (
    hello.protocolMin > extension.PROTOCOL_VERSION_MAX ||
    hello.protocolMax < extension.PROTOCOL_VERSION_MIN
  ) {
    throw new ProtocolError(
      'VERSION_UNSUPPORTED',
      `the peer speaks versions ${hello.protocolMin} to ${hello.protocolMax} of the extensions, ` +
        `this program ${extension.PROTOCOL_VERSION_MIN} to ${extension.PROTOCOL_VERSION_MAX}`
    )
  }
  if (hello.cluster && own.cluster && hello.cluster !== own.cluster) {
    throw new ProtocolError(
      'WRONG_CLUSTER',
      `the peer belongs to cluster ${hello.cluster}, this program to ${own.cluster}`
    )
  }
  return hello
}
