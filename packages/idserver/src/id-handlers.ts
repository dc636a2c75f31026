/** What the ID server answers, command by command. Source: docs/PROTOCOL.md, ID server and Extensions. */
import {
  decodeIdKey,
  extension,
  HEADER_BYTES,
  ID_KEY_BYTES_MAX,
  RejectedError,
  REPLY_CODES,
  writeHeader
} from '@tributary/protocol'
import { replyOf, type Handlers } from '@tributary/transport'
import type { IdAllocator } from './id-allocator.ts'

const ID_BYTES = 8
const TWO_POW_32 = 0x1_0000_0000

export function idHandlers(allocator: IdAllocator): Handlers<'id'> {
  return {
    ID_GET(body) {
      const id = allocator.next(decodeIdKey(body))
      return typeof id === 'number' ? idReply(id) : id.then(idReply)
    },

    ID_BLOCK(body) {
      const { key, count } = extension.idBlock.decode(body)
      if (count < 1 || count > extension.ID_BLOCK_MAX) {
        throw new RejectedError('BAD_FIELD', `count is ${count}, expected 1 to ${extension.ID_BLOCK_MAX}`)
      }
      const first = allocator.run(counterKeyOf(key), count)
      const reply = (first: number): Buffer => replyOf('id', extension.idBlockReply.encode({ first, count }))
      return typeof first === 'number' ? reply(first) : first.then(reply)
    },

    async ID_RAISE(body) {
      const { key, atLeast } = extension.idRaise.decode(body)
      await allocator.raise(counterKeyOf(key), atLeast)
      return replyOf('id')
    }
  }
}

const headOfReply = Buffer.alloc(HEADER_BYTES)
writeHeader(headOfReply, 0, ID_BYTES, REPLY_CODES.id)

function idReply(id: number): Buffer {
  const frame = Buffer.allocUnsafe(HEADER_BYTES + ID_BYTES)
  headOfReply.copy(frame)
  frame.writeUInt32BE(Math.floor(id / TWO_POW_32), HEADER_BYTES)
  frame.writeUInt32BE(id % TWO_POW_32, HEADER_BYTES + 4)
  return frame
}

/**
 * ID_GET's keys are bytes and read one character per byte; a key that came as text is spelled the same way, so that
 * one key has one counter whichever command names it.
 */
function counterKeyOf(text: string): string {
  return decodeIdKey(Buffer.from(checkedKey(text), 'utf8'))
}

function checkedKey(text: string): string {
  if (text.includes('\0')) throw new RejectedError('BAD_FIELD', 'key contains a NUL')
  if (Buffer.byteLength(text) >= ID_KEY_BYTES_MAX) {
    throw new RejectedError('BAD_FIELD', `key is longer than ${ID_KEY_BYTES_MAX - 1} bytes`)
  }
  return text
}
