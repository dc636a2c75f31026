/** Changes what ffmpeg makes into what other programs make: boxes of an MP4, elements of an MKV, rebuilt with their sizes. */

/** A box as it is found: what is done with its body is returned. `path`: types from the outermost one on, `moov/trak/edts`. */
export type BoxEdit = (path: string, body: Buffer) => Buffer | undefined

const PARENTS = new Set(['moov', 'trak', 'mdia', 'minf', 'stbl', 'edts'])

/** The file must have its index at the end where that grows: places in it are left alone. */
export function editBoxes(bytes: Buffer, edit: BoxEdit, above = ''): Buffer {
  const parts: Buffer[] = []
  for (let at = 0; at < bytes.byteLength;) {
    const size = bytes.readUInt32BE(at)
    const type = bytes.toString('latin1', at + 4, at + 8)
    const path = above === '' ? type : `${above}/${type}`
    const body = bytes.subarray(at + 8, at + size)
    const changed = edit(path, body) ?? (PARENTS.has(type) ? editBoxes(body, edit, path) : body)
    parts.push(box(type, changed))
    at += size
  }
  return Buffer.concat(parts)
}

export function box(type: string, ...parts: Buffer[]): Buffer {
  const head = Buffer.alloc(8)
  head.writeUInt32BE(8 + parts.reduce((sum, { byteLength }) => sum + byteLength, 0))
  head.write(type, 4, 'latin1')
  return Buffer.concat([head, ...parts])
}

/** An element as it is found: what is done with its body is returned; undefined: nothing. */
export type ElementEdit = (id: number, body: Buffer) => Buffer | undefined

/** Segment, Cluster, Tracks, TrackEntry, Video, Colour, BlockGroup */
const MASTERS = new Set([0x1853_8067, 0x1f43_b675, 0x1654_ae6b, 0xae, 0xe0, 0x55b0, 0xa0])

/** Of one that is written as it is made (`-live 1`): no places in it go wrong. */
export function editElements(bytes: Buffer, edit: ElementEdit): Buffer {
  const parts: Buffer[] = []
  for (let at = 0; at < bytes.byteLength;) {
    const idBytes = Math.clz32(bytes[at]!) - 23
    const id = bytes.readUIntBE(at, idBytes)
    const sizeBytes = Math.clz32(bytes[at + idBytes]!) - 23
    const field = bytes.subarray(at + idBytes, at + idBytes + sizeBytes)
    const value = field.reduce(
      (sum, byte, index) => sum * 256 + (index === 0 ? byte & (0xff >> sizeBytes) : byte),
      0
    )
    const start = at + idBytes + sizeBytes
    // A size that is not known: all of the file that is left.
    const end = value === 2 ** (7 * sizeBytes) - 1 ? bytes.byteLength : start + value
    const body = bytes.subarray(start, end)
    parts.push(element(id, edit(id, body) ?? (MASTERS.has(id) ? editElements(body, edit) : body)))
    at = end
  }
  return Buffer.concat(parts)
}

export function element(id: number, body: Buffer): Buffer {
  const idBytes = id > 0xff_ffff ? 4 : id > 0xffff ? 3 : id > 0xff ? 2 : 1
  const head = Buffer.alloc(idBytes + 8)
  head.writeUIntBE(id, 0, idBytes)
  head[idBytes] = 1
  head.writeUIntBE(body.byteLength, idBytes + 2, 6)
  return Buffer.concat([head, body])
}

export function double(value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeDoubleBE(value)
  return bytes
}
