/** Elements of Matroska, as they are found in a file: sizes are never believed. RFC 8794. */
import { damaged } from './errors.ts'
import { viewOf } from './isobmff-boxes.ts'

export const ELEMENT_HEADER_BYTES_MAX = 12

export interface Element {
  id: number
  /** Of its body, counted as `childElements` was told to. */
  start: number
  body: Uint8Array
}

const CHILD_ELEMENTS_MAX = 10_000

/** @param base  byte of the file at which `body` begins, for whoever wants to know where its elements are */
export function childElements(body: Uint8Array, base = 0): Element[] {
  const elements: Element[] = []
  for (let at = 0; at < body.byteLength && elements.length < CHILD_ELEMENTS_MAX;) {
    const id = readId(body.subarray(at, at + 4))
    const size = id && readSize(body.subarray(at, at + ELEMENT_HEADER_BYTES_MAX), id.bytes)
    if (id === undefined || size?.value === undefined) throw damaged('one of its tables is broken')
    const start = at + id.bytes + size.bytes
    const end = start + size.value
    if (end > body.byteLength) throw damaged('an element reaches beyond the one that it is in')
    elements.push({ id: id.value, start: base + start, body: body.subarray(start, end) })
    at = end
  }
  return elements
}

/** One to four bytes, the marker bit included. */
export function readId(bytes: Uint8Array): { value: number; bytes: number } | undefined {
  const first = bytes[0]
  if (first === undefined || first < 0x10) return undefined
  const length = Math.clz32(first) - 23
  if (bytes.byteLength < length) return undefined
  let value = first
  for (let index = 1; index < length; index++) value = value * 256 + bytes[index]!
  return { value, bytes: length }
}

/** One to eight bytes without the marker bit; all ones: unknown. */
export function readSize(
  bytes: Uint8Array,
  at: number
): { value: number | undefined; bytes: number } | undefined {
  const first = bytes[at]
  if (first === undefined || first === 0) return undefined
  const length = Math.clz32(first) - 23
  if (bytes.byteLength < at + length) return undefined
  let value = first & (0xff >> length)
  let ones = value === 0xff >> length
  for (let index = 1; index < length; index++) {
    value = value * 256 + bytes[at + index]!
    ones &&= bytes[at + index] === 0xff
  }
  if (ones) return { value: undefined, bytes: length }
  if (value > Number.MAX_SAFE_INTEGER) throw damaged(`an element is said to have ${value} bytes`)
  return { value, bytes: length }
}

/** Body of the first of them that has this id; undefined: there is none. */
export function bodyOf(elements: readonly Element[], id: number): Uint8Array | undefined {
  return elements.find(element => element.id === id)?.body
}

export function unsigned(bytes: Uint8Array): number {
  if (bytes.byteLength > 8) throw damaged('a number of it is too long')
  let value = 0
  for (const byte of bytes) value = value * 256 + byte
  if (value > Number.MAX_SAFE_INTEGER) throw damaged(`a number of ${value} makes no sense there`)
  return value
}

export function float(bytes: Uint8Array): number {
  if (bytes.byteLength === 4) return viewOf(bytes).getFloat32(0)
  return bytes.byteLength === 8 ? viewOf(bytes).getFloat64(0) : 0
}

export function latin1(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes.subarray(0, 100)).replace(/\0.*$/, '')
}
