import { deepEqual, equal } from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { FieldTable } from '../src/index.ts'
import { CODECS, missingRecords, readRecords } from './extension-records.ts'

const HEAD_BYTES = 6
/** No body of ours has it. */
const UNKNOWN_TAG = 60_001
const records = readRecords()

/** The same fields, with some of a later version before, between and behind them, in lists as well. */
function fromLaterVersion(table: FieldTable, bytes: Buffer): Buffer {
  const parts: Buffer[] = [unknownField()]
  for (let at = 0; at < bytes.byteLength;) {
    const tag = bytes.readUInt16BE(at)
    const end = at + HEAD_BYTES + bytes.readUInt32BE(at + 2)
    const spec = Object.values(table).find(field => field.tag === tag)!
    const value = bytes.subarray(at + HEAD_BYTES, end)
    parts.push(
      field(tag, typeof spec.type === 'string' ? value : listFromLaterVersion(spec.type, value)),
      unknownField()
    )
    at = end
  }
  return Buffer.concat(parts)
}

function listFromLaterVersion(table: FieldTable, bytes: Buffer): Buffer {
  const entries: Buffer[] = []
  for (let at = 0; at < bytes.byteLength;) {
    const end = at + 4 + bytes.readUInt32BE(at)
    const entry = fromLaterVersion(table, bytes.subarray(at + 4, end))
    const length = Buffer.alloc(4)
    length.writeUInt32BE(entry.byteLength)
    entries.push(length, entry)
    at = end
  }
  return Buffer.concat(entries)
}

function unknownField(): Buffer {
  return field(UNKNOWN_TAG, Buffer.from('what is this?'))
}

function field(tag: number, value: Buffer): Buffer {
  const head = Buffer.alloc(HEAD_BYTES)
  head.writeUInt16BE(tag)
  head.writeUInt32BE(value.byteLength, 2)
  return Buffer.concat([head, value])
}

describe('a recorded body of an extension command', () => {
  it('is there for every command, whole and with the least that it needs', () => {
    deepEqual(
      missingRecords(records).map(({ body, kind }) => `${body} (${kind})`),
      [],
      'record it: node scripts/run.mjs packages/protocol/test/extension-records.ts'
    )
  })

  for (const { body, kind, fields, hex } of records) {
    it(`is read and written byte for byte: ${body}, ${kind}`, () => {
      const codec = CODECS.get(body)!
      deepEqual(codec.decode(Buffer.from(hex, 'hex')), fields)
      equal(codec.encode(fields).toString('hex'), hex)
    })
  }

  it('means the same when a later version adds fields to it', () => {
    for (const { body, fields, hex } of records) {
      const codec = CODECS.get(body)!
      deepEqual(codec.decode(fromLaterVersion(codec.table, Buffer.from(hex, 'hex'))), fields, body)
    }
  })
})
