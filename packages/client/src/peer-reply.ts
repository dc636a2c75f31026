/** Reading what servers answer: nonsense is the peer's fault, never the caller's. */
import { decodeInt64, ProtocolError, RejectedError, type FieldsCodec } from '@tributary/protocol'

/** @throws {ProtocolError} BAD_REPLY where a decoder says BAD_FIELD. */
export function readReply<T>(decode: () => T): T {
  try {
    return decode()
  } catch (cause) {
    if (!(cause instanceof RejectedError)) throw cause
    throw new ProtocolError('BAD_REPLY', `a reply makes no sense: ${cause.message}`, { cause })
  }
}

export function readFields<V>(codec: FieldsCodec<V>, body: Buffer): V {
  return readReply(() => codec.decode(body))
}

/** Of FILESIZE. @throws {ProtocolError} BAD_REPLY: no size, or one above 2^53. */
export function readSize(body: Buffer): number {
  const size = readReply(() => decodeInt64(body))
  if (size > BigInt(Number.MAX_SAFE_INTEGER)) throw new ProtocolError('BAD_REPLY', `a size of ${size} bytes`)
  return Number(size)
}
