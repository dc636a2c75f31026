/** Small requests, one in flight on each connection, from frames that were made before. */
import {
  COMMANDS,
  encodeDownload,
  encodeFileKey,
  encodeFrame,
  encodeIdKey,
  encodeUploadHead,
  HEADER_BYTES,
  REPLY_CODES
} from '@tributary/protocol'
import { APPLICATION, hotFile, HOT_FILES, SMALL_BYTES, smallContent, USER } from './content.ts'
import type { ExchangeTask, TaskResult } from './task.ts'
import { closeWire, openWire, WrongAnswerError } from './wire.ts'

/** The whole content is compared in one reply of so many. */
const COMPARE_EVERY = 32
const SEQUENCE_DIGITS = 9
/** How much longer than its time a round may be to have its least number of requests. */
const LONGER_MAX = 6

/** Requests of one connection, in turn, and what their replies look like. */
interface Requests {
  next(): Buffer
  /** Bytes of the reply when its first bytes are known; undefined while more are needed. */
  replyBytes(start: Buffer): number | undefined
  check(reply: Buffer): void
}

export async function exchange(task: ExchangeTask): Promise<TaskResult> {
  const wires = await Promise.all(Array.from({ length: task.connections }, () => openWire(task.target)))
  let requests = 0
  let bytes = 0
  const startMs = performance.now()
  const endMs = startMs + task.durationMs
  const lastMs = startMs + LONGER_MAX * task.durationMs
  const requestsMin = task.requestsMin ?? 0
  const goesOn = (): boolean => {
    const nowMs = performance.now()
    return nowMs < endMs || (requests < requestsMin && nowMs < lastMs)
  }
  try {
    await Promise.all(
      wires.map(
        (wire, connection) =>
          new Promise<void>((resolve, reject) => {
            const series = seriesOf(task, connection)
            let early: Buffer | undefined
            wire.fail = reject
            wire.receive = piece => {
              const reply = early === undefined ? piece : Buffer.concat([early, piece])
              const wanted = series.replyBytes(reply)
              if (wanted === undefined || reply.byteLength < wanted) {
                early = Buffer.from(reply)
                return
              }
              early = undefined
              try {
                if (reply.byteLength > wanted) throw new WrongAnswerError('more bytes than the reply has')
                series.check(reply)
              } catch (error) {
                reject(error)
                return
              }
              requests++
              bytes += wanted
              if (goesOn()) wire.socket.write(series.next())
              else resolve()
            }
            wire.socket.write(series.next())
          })
      )
    )
    return { requests, bytes, elapsedMs: performance.now() - startMs }
  } finally {
    for (const wire of wires) closeWire(wire)
  }
}

function seriesOf(task: ExchangeTask, connection: number): Requests {
  switch (task.operation) {
    case 'size':
      return ofHotFiles(
        connection,
        index => encodeFrame(COMMANDS.FILESIZE.code, keyOf(index)),
        () => sizeReply(SMALL_BYTES)
      )
    case 'download':
      return ofHotFiles(
        connection,
        index =>
          encodeFrame(
            COMMANDS.DOWNLOAD.code,
            encodeDownload({ key: nameOf(index), offset: 0, sizeBytes: 0 })
          ),
        index => encodeFrame(REPLY_CODES.storage, smallContent(index))
      )
    case 'addresses':
      return ofAddresses(connection)
    case 'id':
      return ofIds(task.key!)
    case 'upload':
      return ofUploads(`${task.prefix}-${connection}-`)
    case 'http':
      return ofHttp(connection, task.target.port)
  }
}

/** Requests about the hot files, each with a reply that is known to the byte. */
function ofHotFiles(
  connection: number,
  frameOf: (index: number) => Buffer,
  replyOf: (index: number) => Buffer
): Requests {
  const frames = Array.from({ length: HOT_FILES }, (_, index) => frameOf(index))
  const replies = Array.from({ length: HOT_FILES }, (_, index) => replyOf(index))
  let at = (connection * 4) % HOT_FILES
  let checked = 0
  return {
    next: () => {
      at = (at + 1) % HOT_FILES
      return frames[at]!
    },
    replyBytes: () => replies[at]!.byteLength,
    check: reply => {
      const expected = replies[at]!
      const whole = expected.byteLength < 64 || checked++ % COMPARE_EVERY === 0
      const bytes = whole ? expected.byteLength : HEADER_BYTES
      if (reply.compare(expected, 0, bytes, 0, bytes) !== 0) throw new WrongAnswerError(describe(reply))
    }
  }
}

function ofAddresses(connection: number): Requests {
  const frames = Array.from({ length: HOT_FILES }, (_, index) =>
    encodeFrame(COMMANDS.SADDRS.code, keyOf(index))
  )
  let at = (connection * 4) % HOT_FILES
  return {
    next: () => {
      at = (at + 1) % HOT_FILES
      return frames[at]!
    },
    replyBytes: frameBytes,
    check: reply => {
      const good = reply[8] === REPLY_CODES.tracker && reply[9] === 0
      // Group name, at least one address, its semicolon and NUL.
      if (!good || reply.byteLength < HEADER_BYTES + 17 + 10 || reply[reply.byteLength - 2] !== 0x3b) {
        throw new WrongAnswerError(describe(reply))
      }
    }
  }
}

function ofIds(key: string): Requests {
  const frame = encodeFrame(COMMANDS.ID_GET.code, encodeIdKey(key))
  let last = -1
  return {
    next: () => frame,
    replyBytes: frameBytes,
    check: reply => {
      if (reply.byteLength !== HEADER_BYTES + 8 || reply[8] !== REPLY_CODES.id || reply[9] !== 0) {
        throw new WrongAnswerError(describe(reply))
      }
      const id = reply.readUInt32BE(HEADER_BYTES) * 2 ** 32 + reply.readUInt32BE(HEADER_BYTES + 4)
      if (id <= last) throw new WrongAnswerError(`id ${id} after ${last}`)
      last = id
    }
  }
}

/** Each upload has a file id of its own, written into one frame. */
function ofUploads(prefix: string): Requests {
  const name = `${prefix}${'0'.repeat(SEQUENCE_DIGITS)}`
  const head = encodeUploadHead({
    key: { application: APPLICATION, user: USER, file: name },
    sizeBytes: SMALL_BYTES
  })
  const frame = encodeFrame(COMMANDS.UPLOAD.code, head, smallContent(1))
  const digitsAt = frame.indexOf(name, 0, 'latin1') + prefix.length
  let sequence = 0
  return {
    next: () => {
      let rest = ++sequence
      for (let digit = SEQUENCE_DIGITS - 1; rest > 0; digit--) {
        frame[digitsAt + digit] = 0x30 + (rest % 10)
        rest = Math.floor(rest / 10)
      }
      return frame
    },
    replyBytes: frameBytes,
    check: reply => {
      if (reply.byteLength !== HEADER_BYTES || reply[8] !== REPLY_CODES.storage || reply[9] !== 0) {
        throw new WrongAnswerError(describe(reply))
      }
    }
  }
}

function ofHttp(connection: number, port: number): Requests {
  const requests = Array.from({ length: HOT_FILES }, (_, index) =>
    Buffer.from(`GET /files/${hotFile(index)} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n\r\n`, 'latin1')
  )
  let at = (connection * 4) % HOT_FILES
  let checked = 0
  let headBytes = 0
  return {
    next: () => {
      at = (at + 1) % HOT_FILES
      return requests[at]!
    },
    replyBytes: reply => {
      const end = reply.indexOf('\r\n\r\n', 0, 'latin1')
      if (end < 0) return undefined
      headBytes = end + 4
      return headBytes + SMALL_BYTES
    },
    check: reply => {
      if (reply.toString('latin1', 0, 13) !== 'HTTP/1.1 200 ') throw new WrongAnswerError(describe(reply))
      if (checked++ % COMPARE_EVERY !== 0) return
      if (!reply.subarray(headBytes).equals(smallContent(at))) {
        throw new WrongAnswerError(`wrong content of ${hotFile(at)}`)
      }
    }
  }
}

function nameOf(index: number) {
  return { application: APPLICATION, user: USER, file: hotFile(index) }
}

function keyOf(index: number): Buffer {
  return encodeFileKey(nameOf(index))
}

function sizeReply(bytes: number): Buffer {
  const body = Buffer.alloc(8)
  body.writeBigInt64BE(BigInt(bytes))
  return encodeFrame(REPLY_CODES.storage, body)
}

function frameBytes(start: Buffer): number | undefined {
  return start.byteLength < HEADER_BYTES ? undefined : HEADER_BYTES + start.readUInt32BE(4)
}

function describe(reply: Buffer): string {
  return `wrong answer: ${reply.subarray(0, 160).toString('latin1')}`
}
