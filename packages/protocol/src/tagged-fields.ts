/**
 * Bodies of extension commands: fields with tags, in any order, so that versions n and n-1 work together.
 * A reader skips tags it does not know; a tag, once released, keeps its number and type for ever.
 *
 *   per field:  tag u16 · length u32 · value of that length
 *
 *   types:  u64 8 bytes · u32 4 bytes · flag 1 byte · text UTF-8 · hex bytes shown as lower-case hex ·
 *           list: per entry length u32 · fields of the entry
 */
import { RejectedError } from './errors.ts'
import { invariant } from './invariant.ts'
import { readUtf8 } from './text-field.ts'

const FIELD_HEAD_BYTES = 6
/** Entries that a list may hold; a longer one is refused. */
export const LIST_ENTRIES_MAX = 20_000

type ScalarType = 'u64' | 'u32' | 'flag' | 'text' | 'hex'
export interface FieldSpec {
  readonly tag: number
  readonly type: ScalarType | FieldTable
  readonly optional?: true
}
export type FieldTable = Readonly<Record<string, FieldSpec>>

type ValueOf<T extends FieldSpec['type']> = T extends 'u64' | 'u32'
  ? number
  : T extends 'flag'
    ? boolean
    : T extends 'text' | 'hex'
      ? string
      : T extends FieldTable
        ? FieldsOf<T>[]
        : never
type OptionalNames<T extends FieldTable> = {
  [K in keyof T]: T[K] extends { optional: true } ? K : never
}[keyof T]
export type FieldsOf<T extends FieldTable> = {
  [K in Exclude<keyof T, OptionalNames<T>>]: ValueOf<T[K]['type']>
} & { [K in OptionalNames<T>]?: ValueOf<T[K]['type']> | undefined }

export interface FieldsCodec<V> {
  /** The layout, as docs/PROTOCOL.md shows it. */
  readonly table: FieldTable
  encode(value: V): Buffer
  /** @throws {RejectedError} BAD_FIELD: cut short, a value of the wrong length, or a missing field. */
  decode(source: Buffer): V
  /** Bytes that `encode` yields. */
  sizeOf(value: V): number
  /** Writes what `encode` yields at `start` and returns where it ends; `target` has room. */
  write(value: V, target: Buffer, start: number): number
}

export function fieldsCodec<const T extends FieldTable>(table: T): FieldsCodec<FieldsOf<T>> {
  const entries = Object.entries(table) as [string, FieldSpec][]
  const byTag = new Map(entries.map(([name, spec]) => [spec.tag, { name, ...spec, codec: listCodec(spec) }]))
  invariant(byTag.size === entries.length, 'tags are unique within a body')
  const encoders = entries.map(([name, spec]) => ({ name, ...spec, codec: listCodec(spec) }))
  const required = encoders.filter(field => field.optional !== true)

  function sizeOf(value: FieldsOf<T>): number {
    const values = value as Record<string, unknown>
    let bytes = 0
    for (const { name, type, codec, optional } of encoders) {
      const item = values[name]
      if (item === undefined) invariant(optional, `field ${name} is required`)
      else bytes += FIELD_HEAD_BYTES + valueBytes(type, item, codec)
    }
    return bytes
  }

  function write(value: FieldsOf<T>, target: Buffer, start: number): number {
    const values = value as Record<string, unknown>
    let offset = start
    for (const { name, tag, type, codec } of encoders) {
      const item = values[name]
      if (item === undefined) continue
      const end = writeValue(type, item, codec, target, offset + FIELD_HEAD_BYTES)
      target.writeUInt16BE(tag, offset)
      target.writeUInt32BE(end - offset - FIELD_HEAD_BYTES, offset + 2)
      offset = end
    }
    return offset
  }

  /** One allocation, whatever the number of fields: this runs for every upload and download. */
  function encode(value: FieldsOf<T>): Buffer {
    const target = Buffer.allocUnsafe(sizeOf(value))
    const end = write(value, target, 0)
    invariant(end === target.byteLength, 'sizes and bytes written agree')
    return target
  }

  function decode(source: Buffer): FieldsOf<T> {
    const values: Record<string, unknown> = {}
    let offset = 0
    while (offset < source.byteLength) {
      if (offset + FIELD_HEAD_BYTES > source.byteLength) throw cutShort()
      const field = byTag.get(source.readUInt16BE(offset))
      const start = offset + FIELD_HEAD_BYTES
      offset = start + source.readUInt32BE(offset + 2)
      if (offset > source.byteLength) throw cutShort()
      if (field) values[field.name] = decodeValue(field.name, field.type, source, start, offset, field.codec)
    }
    for (const { name } of required) {
      if (values[name] === undefined) throw new RejectedError('BAD_FIELD', `field '${name}' is missing`)
    }
    return values as FieldsOf<T>
  }

  return { table, encode, decode, sizeOf, write }
}

/** A block of fields with its length in front, for bodies in which content follows: u32 · fields · content. */
export function encodeFieldBlock(fields: Buffer): Buffer {
  const block = Buffer.allocUnsafe(4 + fields.byteLength)
  block.writeUInt32BE(fields.byteLength, 0)
  fields.copy(block, 4)
  return block
}

/**
 * Splits u32 · fields · content.
 *
 * @returns Views into `source`.
 * @throws {RejectedError} BAD_FIELD: the block is longer than the body.
 */
export function splitFieldBlock(source: Buffer): { fields: Buffer; content: Buffer } {
  if (source.byteLength < 4) throw cutShort()
  const end = 4 + source.readUInt32BE(0)
  if (end > source.byteLength) throw cutShort()
  return { fields: source.subarray(4, end), content: source.subarray(end) }
}

type ListCodec = FieldsCodec<Record<string, unknown>> | undefined

function listCodec({ type }: FieldSpec): ListCodec {
  return typeof type === 'string' ? undefined : (fieldsCodec(type) as unknown as ListCodec)
}

function valueBytes(type: FieldSpec['type'], value: unknown, codec: ListCodec): number {
  switch (type) {
    case 'u64':
      return 8
    case 'u32':
      return 4
    case 'flag':
      return 1
    case 'text':
      return Buffer.byteLength(value as string, 'utf8')
    case 'hex':
      invariant((value as string).length % 2 === 0, 'a hex field has two digits a byte')
      return (value as string).length / 2
    default: {
      let bytes = 0
      for (const entry of value as Record<string, unknown>[]) bytes += 4 + codec!.sizeOf(entry)
      return bytes
    }
  }
}

function writeValue(
  type: FieldSpec['type'],
  value: unknown,
  codec: ListCodec,
  target: Buffer,
  offset: number
): number {
  switch (type) {
    case 'u64':
      invariant(Number.isSafeInteger(value) && (value as number) >= 0, 'a u64 field is a whole number')
      target.writeUInt32BE(Math.floor((value as number) / 0x1_0000_0000), offset)
      target.writeUInt32BE((value as number) % 0x1_0000_0000, offset + 4)
      return offset + 8
    case 'u32':
      return target.writeUInt32BE(value as number, offset)
    case 'flag':
      return target.writeUInt8(value ? 1 : 0, offset)
    case 'text':
      return offset + target.write(value as string, offset, 'utf8')
    case 'hex':
      return offset + target.write(value as string, offset, 'hex')
    default: {
      let end = offset
      for (const entry of value as Record<string, unknown>[]) {
        const start = end + 4
        end = codec!.write(entry, target, start)
        target.writeUInt32BE(end - start, start - 4)
      }
      return end
    }
  }
}

function decodeValue(
  name: string,
  type: FieldSpec['type'],
  source: Buffer,
  start: number,
  end: number,
  codec: ListCodec
): unknown {
  switch (type) {
    case 'u64': {
      checkWidth(name, end - start, 8)
      const high = source.readUInt32BE(start)
      if (high > 0x1f_ffff) throw new RejectedError('BAD_FIELD', `field '${name}' is above 2^53`)
      return high * 0x1_0000_0000 + source.readUInt32BE(start + 4)
    }
    case 'u32':
      checkWidth(name, end - start, 4)
      return source.readUInt32BE(start)
    case 'flag':
      checkWidth(name, end - start, 1)
      return source[start] !== 0
    case 'text': {
      const text = readUtf8(source, start, end, `field '${name}'`)
      // Ids come in text fields, and NUL is what ends an id elsewhere.
      if (text.includes('\0')) throw new RejectedError('BAD_FIELD', `field '${name}' contains a NUL`)
      return text
    }
    case 'hex':
      return source.toString('hex', start, end)
    default: {
      const entries: unknown[] = []
      let rest = source.subarray(start, end)
      while (rest.byteLength > 0) {
        if (entries.length === LIST_ENTRIES_MAX)
          throw new RejectedError('BAD_FIELD', `list '${name}' is too long`)
        if (rest.byteLength < 4) throw cutShort()
        const entryEnd = 4 + rest.readUInt32BE(0)
        if (entryEnd > rest.byteLength) throw cutShort()
        entries.push(codec!.decode(rest.subarray(4, entryEnd)))
        rest = rest.subarray(entryEnd)
      }
      return entries
    }
  }
}

function checkWidth(name: string, bytes: number, expected: number): void {
  if (bytes !== expected) {
    throw new RejectedError('BAD_FIELD', `field '${name}' has ${bytes} bytes instead of ${expected}`)
  }
}

function cutShort(): RejectedError {
  return new RejectedError('BAD_FIELD', 'tagged fields are cut short')
}
