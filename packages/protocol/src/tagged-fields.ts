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
  encode(value: V): Buffer
  /** @throws {RejectedError} BAD_FIELD: cut short, a value of the wrong length, or a missing field. */
  decode(source: Buffer): V
}

export function fieldsCodec<const T extends FieldTable>(table: T): FieldsCodec<FieldsOf<T>> {
  const entries = Object.entries(table) as [string, FieldSpec][]
  const byTag = new Map(entries.map(([name, spec]) => [spec.tag, { name, ...spec, codec: listCodec(spec) }]))
  invariant(byTag.size === entries.length, 'tags are unique within a body')
  const encoders = entries.map(([name, spec]) => ({ name, ...spec, codec: listCodec(spec) }))
  const required = encoders.filter(field => field.optional !== true)

  function encode(value: FieldsOf<T>): Buffer {
    const values = value as Record<string, unknown>
    const parts: Buffer[] = []
    for (const field of encoders) {
      const item = values[field.name]
      if (item === undefined) {
        invariant(field.optional, `field ${field.name} is required`)
        continue
      }
      const bytes = encodeValue(field.type, item, field.codec)
      const head = Buffer.allocUnsafe(FIELD_HEAD_BYTES)
      head.writeUInt16BE(field.tag, 0)
      head.writeUInt32BE(bytes.byteLength, 2)
      parts.push(head, bytes)
    }
    return parts.length === 1 ? parts[0]! : Buffer.concat(parts)
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

  return { encode, decode }
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

function encodeValue(type: FieldSpec['type'], value: unknown, codec: ListCodec): Buffer {
  switch (type) {
    case 'u64': {
      invariant(Number.isSafeInteger(value) && (value as number) >= 0, 'a u64 field is a whole number')
      const bytes = Buffer.allocUnsafe(8)
      bytes.writeUInt32BE(Math.floor((value as number) / 0x1_0000_0000), 0)
      bytes.writeUInt32BE((value as number) % 0x1_0000_0000, 4)
      return bytes
    }
    case 'u32': {
      const bytes = Buffer.allocUnsafe(4)
      bytes.writeUInt32BE(value as number, 0)
      return bytes
    }
    case 'flag':
      return Buffer.from([value ? 1 : 0])
    case 'text':
      return Buffer.from(value as string, 'utf8')
    case 'hex':
      return Buffer.from(value as string, 'hex')
    default: {
      const parts: Buffer[] = []
      for (const entry of value as Record<string, unknown>[])
        parts.push(encodeFieldBlock(codec!.encode(entry)))
      return Buffer.concat(parts)
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
    case 'text':
      return source.toString('utf8', start, end)
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
