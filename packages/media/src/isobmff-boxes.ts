/** Boxes of ISO/IEC 14496-12 as they are found in a file: sizes are never believed. */
import { damaged } from './errors.ts'

export interface BoxHeader {
  type: string
  /** Of the header. */
  headerBytes: number
  /** Of the whole box; undefined: it reaches to the end. */
  sizeBytes: number | undefined
}

export const BOX_HEADER_BYTES_MAX = 16

/**
 *   offset  size
 *        0     4  size      u32; 1: a 64-bit one follows; 0: to the end
 *        4     4  type
 *        8     8  largesize u64, if size is 1
 *
 * @returns undefined when `bytes` is shorter than the header
 */
export function readBoxHeader(bytes: Uint8Array): BoxHeader | undefined {
  if (bytes.byteLength < 8) return undefined
  const view = viewOf(bytes)
  const size = view.getUint32(0)
  const type = fourCharacters(bytes, 4)
  if (size === 0) return { type, headerBytes: 8, sizeBytes: undefined }
  if (size !== 1) {
    if (size < 8) throw damaged(`the box ${type} says that it has ${size} bytes`)
    return { type, headerBytes: 8, sizeBytes: size }
  }
  if (bytes.byteLength < 16) return undefined
  const large = view.getBigUint64(8)
  if (large < 16n || large > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw damaged(`the box ${type} says that it has ${large} bytes`)
  }
  return { type, headerBytes: 16, sizeBytes: Number(large) }
}

export interface Box {
  type: string
  /** Without the header. */
  body: Uint8Array
  /** With it. */
  whole: Uint8Array
}

/** Children of a box; what is cut off by its end is left out, as writers leave odd bytes there. */
const CHILDREN_MAX = 10_000

export function childrenOf(body: Uint8Array): Box[] {
  const children: Box[] = []
  for (let at = 0; at + 8 <= body.byteLength && children.length < CHILDREN_MAX;) {
    const header = readBoxHeader(body.subarray(at, at + BOX_HEADER_BYTES_MAX))
    if (header === undefined) break
    const end = header.sizeBytes === undefined ? body.byteLength : at + header.sizeBytes
    if (end > body.byteLength) {
      if (children.length > 0 && header.type === '\0\0\0\0') break
      throw damaged(`the box ${header.type} reaches beyond the one that it is in`)
    }
    const whole = body.subarray(at, end)
    children.push({ type: header.type, body: whole.subarray(header.headerBytes), whole })
    at = end
  }
  return children
}

export function childOf(children: readonly Box[], type: string): Box | undefined {
  return children.find(child => child.type === type)
}

/** A view of a box that must have at least so many bytes. */
export function bodyView(box: Box, bytesMin: number): DataView {
  if (box.body.byteLength < bytesMin) throw damaged(`the box ${box.type} is too short`)
  return viewOf(box.body)
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

export function fourCharacters(bytes: Uint8Array, at: number): string {
  return String.fromCharCode(bytes[at]!, bytes[at + 1]!, bytes[at + 2]!, bytes[at + 3]!)
}

/** A u64 that is a time or a place: beyond 2^53 it is neither. */
export function safeU64(view: DataView, at: number): number {
  const value = view.getBigUint64(at)
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw damaged(`a number of ${value} makes no sense there`)
  return Number(value)
}
