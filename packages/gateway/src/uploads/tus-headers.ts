/** Headers of tus 1.0, read strictly: what does not fit to the letter is refused, and never guessed at. */
import { APPEND_ALGORITHMS, extension, type AppendAlgorithm, type AppendChecksum } from '@tributary/protocol'
import type { PartPlace } from '@tributary/client'
import { HttpProblem } from '../problem.ts'

export const TUS_VERSION = '1.0.0'
export const TUS_EXTENSIONS = 'creation,creation-with-upload,expiration,checksum,termination,concatenation'
export const CHECKSUM_ALGORITHMS = 'sha1,sha256,md5,crc32'
export const UPLOADS_PREFIX = '/uploads'

const WHOLE_NUMBER = /^\d{1,16}$/
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/
const METADATA_KEY = /^[\x21-\x2b\x2d-\x7e]{1,128}$/
const METADATA_ENTRIES_MAX = 64
const UPLOAD_ID = /^[0-9a-f]{32}$/

/** A byte count. @throws {HttpProblem} 400 */
export function readCount(name: string, value: string | undefined): number {
  if (value !== undefined && WHOLE_NUMBER.test(value) && Number.isSafeInteger(Number(value)))
    return Number(value)
  throw new HttpProblem(
    400,
    value === undefined ? `${name} is missing` : `${name} is not a whole number of bytes`
  )
}

/** Keys with their decoded values. @throws {HttpProblem} 400 */
export function readMetadata(header: string | undefined): Map<string, string> {
  const metadata = new Map<string, string>()
  if (header === undefined || header === '') return metadata
  for (const pair of header.split(',')) {
    const [key = '', value = '', ...rest] = pair.trim().split(' ')
    if (!METADATA_KEY.test(key) || rest.length > 0 || !BASE64.test(value)) {
      throw new HttpProblem(400, 'Upload-Metadata is not a list of keys, each with a value in Base64')
    }
    if (metadata.has(key) || metadata.size >= METADATA_ENTRIES_MAX) {
      throw new HttpProblem(
        400,
        `Upload-Metadata has a key twice, or more than ${METADATA_ENTRIES_MAX} of them`
      )
    }
    metadata.set(key, textOf(value))
  }
  return metadata
}

export type Concat = { kind: 'whole' } | { kind: 'partial' } | { kind: 'final'; ids: string[] }

/** @throws {HttpProblem} 400 */
export function readConcat(header: string | undefined): Concat {
  if (header === undefined) return { kind: 'whole' }
  if (header === 'partial') return { kind: 'partial' }
  const [, list] = /^final;\s*(.+)$/.exec(header) ?? []
  if (list === undefined)
    throw new HttpProblem(400, 'Upload-Concat is neither `partial` nor `final;` with URLs')
  const ids = list.trim().split(/ +/).map(partId)
  if (ids.length > extension.UPLOAD_PARTS_MAX) {
    throw new HttpProblem(400, `an upload is joined of at most ${extension.UPLOAD_PARTS_MAX} parts`)
  }
  return { kind: 'final', ids }
}

/** `algorithm checksum in Base64`. @throws {HttpProblem} 400 */
export function readChecksum(header: string | undefined): AppendChecksum | undefined {
  if (header === undefined) return undefined
  const [algorithm = '', encoded = '', ...rest] = header.split(' ')
  const known = Object.hasOwn(APPEND_ALGORITHMS, algorithm)
    ? APPEND_ALGORITHMS[algorithm as AppendAlgorithm]
    : undefined
  if (!known) throw new HttpProblem(400, `the checksum algorithm is not one of ${CHECKSUM_ALGORITHMS}`)
  const digest = Buffer.from(encoded, 'base64')
  if (rest.length > 0 || !BASE64.test(encoded) || digest.byteLength !== known.bytes) {
    throw new HttpProblem(400, `Upload-Checksum is no ${algorithm} in Base64`)
  }
  return { algorithm: algorithm as AppendAlgorithm, digest }
}

/**
 * Where a part lies in its whole, by the metadata key `parallel`: `<32 hex digits> <part> <parts> <bytes of the whole>`.
 * One that is not right is as good as none: the part is copied then.
 */
export function readPlace(text: string | undefined): PartPlace | undefined {
  const [, whole, part, parts, totalBytes] =
    /^([0-9a-f]{32}) (\d{1,3}) (\d{1,3}) (\d{1,16})$/.exec(text ?? '') ?? []
  if (whole === undefined) return undefined
  const place = { whole, part: Number(part), parts: Number(parts), totalBytes: Number(totalBytes) }
  return Number.isSafeInteger(place.totalBytes) ? place : undefined
}

/** Id behind `/uploads/`; undefined: the URL where uploads are created. @throws {HttpProblem} 404 */
export function readUploadId(url: string): string | undefined {
  const path = url.replace(/^https?:\/\/[^/?#]*/i, '').split('?', 1)[0]!
  const id = path.slice(UPLOADS_PREFIX.length).replace(/^\//, '')
  if (id === '') return undefined
  if (!UPLOAD_ID.test(id)) throw new HttpProblem(404, 'no such upload', [], 'UPLOAD_NOT_FOUND')
  return id
}

function partId(url: string): string {
  const [, id] = /^(?:https?:\/\/[^/\s]+)?\/(?:[^?#\s]*\/)?([0-9a-f]{32})$/.exec(url) ?? []
  if (id === undefined) throw new HttpProblem(400, 'Upload-Concat names what is no upload of this server')
  return id
}

function textOf(value: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.from(value, 'base64'))
  } catch {
    throw new HttpProblem(400, 'Upload-Metadata holds a value that is not UTF-8')
  }
}
