import { deepEqual, equal, match, ok, throws } from 'node:assert/strict'
import { describe, it } from 'node:test'
import {
  COMMANDS,
  decodeAddressesReply,
  decodeBeat,
  decodeDownload,
  decodeErrorBody,
  decodeFileKey,
  decodeIdKey,
  decodeInt64,
  decodeJoin,
  decodeUploadHead,
  encodeAddressesReply,
  encodeBeat,
  encodeDownload,
  encodeErrorReply,
  encodeFileKey,
  encodeFrame,
  encodeIdKey,
  encodeInt64,
  encodeJoin,
  encodeUploadHead,
  ERRNO_UNSPECIFIED,
  ERROR_BODY_BYTES_MAX,
  HEADER_BYTES,
  readBodyBytes,
  REPLY_CODES,
  STATUS_ERROR,
  type Command,
  type Role
} from '../src/index.ts'
import { vector, VECTORS, type Vector } from './vectors.ts'

const KEY = { application: 'tnvideo', user: 'tnv001', file: 'golden1mwrj0fk9' }

function requestBody({ request }: Vector): Buffer {
  return request.subarray(HEADER_BYTES)
}
function replyBody({ reply }: Vector): Buffer {
  return reply.subarray(HEADER_BYTES)
}
function roleOf({ name }: Vector): Role {
  return name.split('.')[0] as Role
}

describe('a recorded request', () => {
  it('of JOIN is read and written byte for byte', () => {
    const join = decodeJoin(requestBody(vector('tracker.join')))
    deepEqual(join, {
      version: '1.0',
      group: 'group009',
      hostName: 'goldenhost',
      port: 23999,
      startedAtS: join.joinedAtS,
      joinedAtS: join.joinedAtS
    })
    deepEqual(encodeFrame(COMMANDS.JOIN.code, encodeJoin(join)), vector('tracker.join').request)
  })

  it('of BEAT is read and written byte for byte', () => {
    for (const [name, hostName] of [
      ['tracker.beat', 'goldenhost'],
      ['tracker.beat.unknown_host', 'nosuchhost']
    ] as const) {
      const beat = decodeBeat(requestBody(vector(name)))
      deepEqual(beat, { group: 'group009', hostName })
      deepEqual(encodeFrame(COMMANDS.BEAT.code, encodeBeat(beat)), vector(name).request)
    }
  })

  it('with a file key is read and written byte for byte', () => {
    for (const [name, command, application, file] of [
      ['tracker.saddrs', COMMANDS.SADDRS, 'tnvideo', KEY.file],
      ['tracker.saddrs.unknown_appid', COMMANDS.SADDRS, 'nosuchapp', KEY.file],
      ['storage.filesize', COMMANDS.FILESIZE, 'tnvideo', KEY.file],
      ['storage.filesize.unknown_fileid', COMMANDS.FILESIZE, 'tnvideo', 'nosuchfile'],
      ['storage.delete', COMMANDS.DELETE, 'tnvideo', KEY.file]
    ] as const) {
      const key = decodeFileKey(requestBody(vector(name)))
      deepEqual(key, { application, user: KEY.user, file })
      deepEqual(encodeFrame(command.code, encodeFileKey(key)), vector(name).request)
    }
  })

  it('with garbage behind its NULs means the same as one without', () => {
    const padded = decodeFileKey(requestBody(vector('storage.filesize.padded_with_garbage')))
    match(padded.file, /^[\x20-\x7e]+$/)
    equal(padded.application, 'tnvideo')
    const clean = encodeFileKey(padded)
    equal(clean.equals(requestBody(vector('storage.filesize.padded_with_garbage'))), false)
    deepEqual(decodeFileKey(clean), padded)
  })

  it('whose length is wrong is cut short', () => {
    throws(() => decodeFileKey(requestBody(vector('tracker.saddrs.bad_length'))), { code: 'BAD_FIELD' })
  })

  it('of ID_GET names one key, with and without NULs', () => {
    const key = decodeIdKey(requestBody(vector('id.get.newkey')))
    equal(key, 'kmwrj0fk9')
    equal(decodeIdKey(requestBody(vector('id.get.newkey.second'))), key)
    equal(decodeIdKey(requestBody(vector('id.get.padded65'))), key)
    throws(() => decodeIdKey(requestBody(vector('id.get.too_long'))), { code: 'BAD_FIELD' })
    deepEqual(encodeFrame(COMMANDS.ID_GET.code, encodeIdKey(key)), vector('id.get.newkey').request)
  })

  it('of UPLOAD is read and written byte for byte', () => {
    const { request } = vector('storage.upload')
    const head = request.subarray(HEADER_BYTES, HEADER_BYTES + 408)
    const content = request.subarray(HEADER_BYTES + 408)
    deepEqual(decodeUploadHead(head, content.byteLength), { key: KEY, sizeBytes: 32 })
    const written = encodeFrame(COMMANDS.UPLOAD.code, encodeUploadHead({ key: KEY, sizeBytes: 32 }), content)
    deepEqual(written, request)
  })

  it('of UPLOAD whose sizes disagree is refused', () => {
    const { request } = vector('storage.upload.size_mismatch')
    const head = request.subarray(HEADER_BYTES, HEADER_BYTES + 408)
    const contentBytes = request.byteLength - HEADER_BYTES - 408
    throws(() => decodeUploadHead(head, contentBytes), { code: 'SIZE_MISMATCH' })
  })

  it('of DOWNLOAD is read and written byte for byte', () => {
    for (const [name, offset, sizeBytes] of [
      ['storage.download.all', 0, 0],
      ['storage.download.range', 10, 5],
      ['storage.download.at_end', 32, 0],
      ['storage.download.bad_offset', 33, 0],
      ['storage.download.bad_size', 30, 3]
    ] as const) {
      const download = decodeDownload(requestBody(vector(name)))
      deepEqual(download, { key: KEY, offset, sizeBytes })
      deepEqual(encodeFrame(COMMANDS.DOWNLOAD.code, encodeDownload(download)), vector(name).request)
    }
  })

  it('of no body is a header alone', () => {
    deepEqual(encodeFrame(COMMANDS.GROUPS.code), vector('tracker.groups').request)
    equal(readBodyBytes(vector('tracker.negative_length').request, 0), -1)
  })
})

describe('a recorded reply', () => {
  for (const recorded of VECTORS) {
    it(`to ${recorded.name} has the shape of the format`, () => {
      const { reply } = recorded
      equal(readBodyBytes(reply, 0), reply.byteLength - HEADER_BYTES)
      equal(reply[8], REPLY_CODES[roleOf(recorded)])
      if (reply.readInt8(9) === 0) return
      equal(reply.readInt8(9), STATUS_ERROR)
      equal(reply.readInt16BE(HEADER_BYTES), ERRNO_UNSPECIFIED)
      equal(reply.at(-1), 0)
      ok(reply.byteLength - HEADER_BYTES <= ERROR_BODY_BYTES_MAX)
      const error = decodeErrorBody(replyBody(recorded))
      equal(error.code, 'PEER_ERROR')
      match(error.message, /^\[vm\] /)
      deepEqual(encodeErrorReply(reply[8]!, ERRNO_UNSPECIFIED, error.message), reply)
    })
  }

  it('of SADDRS is read and written byte for byte', () => {
    const reply = decodeAddressesReply(replyBody(vector('tracker.saddrs')))
    deepEqual(reply, {
      group: 'group001',
      addresses: [
        { host: '127.0.0.1', port: 23000 },
        { host: '127.0.0.1', port: 23001 }
      ]
    })
    deepEqual(
      encodeFrame(REPLY_CODES.tracker, encodeAddressesReply(reply.group, reply.addresses)),
      vector('tracker.saddrs').reply
    )
  })

  it('of a number is read and written byte for byte', () => {
    for (const [name, value] of [
      ['id.get.newkey', 0n],
      ['id.get.newkey.second', 1n],
      ['id.get.padded65', 2n],
      ['storage.filesize', 32n]
    ] as const) {
      const recorded = vector(name)
      equal(decodeInt64(replyBody(recorded)), value)
      deepEqual(encodeFrame(REPLY_CODES[roleOf(recorded)], encodeInt64(value)), recorded.reply)
    }
  })

  it('of success without a body is a header alone', () => {
    for (const name of [
      'tracker.join',
      'tracker.beat',
      'storage.upload',
      'storage.delete',
      'storage.download.at_end'
    ]) {
      const recorded = vector(name)
      deepEqual(encodeFrame(REPLY_CODES[roleOf(recorded)]), recorded.reply)
    }
  })
})

describe('the command table', () => {
  it('gives every command a code of its own, outside the replies and the probes', () => {
    const commands = Object.values(COMMANDS) as Command[]
    const codes = commands.map(({ code }) => code)
    equal(new Set(codes).size, codes.length)
    for (const { code, extension, bodyBytesMin, bodyBytesMax } of commands) {
      ok(bodyBytesMin <= bodyBytesMax)
      if (!extension) ok([10, 11, 12, 13, 40, 70, 71, 72, 73].includes(code))
      else ok((code >= 14 && code <= 39) || (code >= 41 && code <= 69) || (code >= 74 && code <= 89))
    }
  })
})
