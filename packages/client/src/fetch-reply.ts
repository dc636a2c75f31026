/** The reply to a FETCH whose body is streamed: u32 length of the fields · fields · content, split as it comes. */
import { EXTENSION_BODY_BYTES_MAX, extension, ProtocolError, type FetchReply } from '@tributary/protocol'
import type { PieceTaker } from '@tributary/transport'
import { readFields } from './peer-reply.ts'

const LENGTH_BYTES = 4

/**
 * @param onHead    Called once, before the first piece of content, with what the content is.
 * @param onContent Takes the pieces of the content.
 * @param distrust  Called when the reply makes no sense; what follows is dropped.
 */
export function fetchReplyTaker(
  bodyBytes: number,
  onHead: (reply: FetchReply, contentBytes: number) => void,
  onContent: PieceTaker,
  distrust: (error: Error) => void
): PieceTaker {
  let head: Buffer | undefined = Buffer.alloc(0)
  let broken = false

  function takeHead(piece: Buffer): number {
    const joined = head!.byteLength === 0 ? piece : Buffer.concat([head!, piece])
    const fieldsBytes = joined.byteLength < LENGTH_BYTES ? undefined : joined.readUInt32BE(0)
    if (
      fieldsBytes !== undefined &&
      fieldsBytes > Math.min(EXTENSION_BODY_BYTES_MAX, bodyBytes - LENGTH_BYTES)
    ) {
      throw new ProtocolError(
        'BAD_REPLY',
        `a reply of ${bodyBytes} bytes announces ${fieldsBytes} bytes of fields`
      )
    }
    const headBytes = LENGTH_BYTES + (fieldsBytes ?? 0)
    if (fieldsBytes === undefined || joined.byteLength < headBytes) {
      head = Buffer.from(joined)
      return piece.byteLength
    }
    const start = headBytes - head!.byteLength
    const reply = readFields(extension.fetchReply, joined.subarray(LENGTH_BYTES, headBytes))
    head = undefined
    const contentBytes = bodyBytes - headBytes
    checkContentBytes(reply, contentBytes)
    onHead(reply, contentBytes)
    return start
  }

  if (bodyBytes < LENGTH_BYTES)
    distrust(new ProtocolError('BAD_REPLY', `a reply of ${bodyBytes} bytes is too short`))
  return (piece, release) => {
    let start = 0
    if (head && !broken) {
      try {
        start = takeHead(piece)
      } catch (error) {
        broken = true
        distrust(error as Error)
      }
    }
    if (broken || start === piece.byteLength) release()
    else onContent(start === 0 ? piece : piece.subarray(start), release)
  }
}

/** @throws {ProtocolError} BAD_REPLY: more or fewer bytes than the fields say. */
export function checkContentBytes(reply: FetchReply, contentBytes: number): void {
  const none = reply.notModified || reply.unsatisfiable || reply.omitted
  const expected = none ? 0 : (reply.lengthBytes ?? reply.sizeBytes)
  if (contentBytes !== expected) {
    throw new ProtocolError(
      'BAD_REPLY',
      `${contentBytes} bytes of content came where ${expected} were announced`
    )
  }
}
