/** Boxes as we write them. Everything is small but the table of a fragment, which has a writer of its own. */

export type BoxPart = Uint8Array | number[]

export function box(type: string, ...parts: BoxPart[]): Uint8Array {
  const bytes = Buffer.alloc(8 + parts.reduce((sum, part) => sum + part.length, 0))
  bytes.writeUInt32BE(bytes.byteLength, 0)
  bytes.write(type, 4, 'latin1')
  let at = 8
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}

export function fullBox(type: string, version: number, flags: number, ...parts: BoxPart[]): Uint8Array {
  return box(type, [version, (flags >> 16) & 255, (flags >> 8) & 255, flags & 255], ...parts)
}

export function u16(value: number): number[] {
  return [(value >> 8) & 255, value & 255]
}

export function u32(value: number): number[] {
  return [(value >>> 24) & 255, (value >>> 16) & 255, (value >>> 8) & 255, value & 255]
}

export function u64(value: number): number[] {
  return [...u32(Math.floor(value / 2 ** 32)), ...u32(value % 2 ** 32)]
}

export function text(value: string): number[] {
  return [...Buffer.from(value, 'utf8')]
}

export function zeros(count: number): number[] {
  return new Array<number>(count).fill(0)
}
