/** HELLO, the handshake of our own programs: what we say, and whether we can go on with what we heard. */
import { extension, ProtocolError, type Hello } from '@tributary/protocol'

export interface Greeting {
  role: 'tracker' | 'id' | 'storage' | 'client'
  /** Cluster UUID, or '' where it is not known. */
  cluster: string
  /** Version of this program, for the peer's log. */
  version: string
}

const NONCE_BYTES = 16

export function encodeGreeting({ role, cluster, version }: Greeting): Buffer {
  return extension.hello.encode({
    protocolMin: extension.PROTOCOL_VERSION_MIN,
    protocolMax: extension.PROTOCOL_VERSION_MAX,
    role,
    cluster,
    features: extension.OWN_FEATURES,
    timeMs: Date.now(),
    nonce: Buffer.from(crypto.getRandomValues(new Uint8Array(NONCE_BYTES))).toString('hex'),
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
