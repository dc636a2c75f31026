/** Headers that describe a stored file; made once per generation, since a generation never changes. */
import type { OutgoingHttpHeader } from 'node:http'
import type { FileFacts, FileKey } from '@tributary/protocol'
import { contentDisposition } from './content-disposition.ts'
import { formatHttpDate } from './http-date.ts'
import { contentTypeOf, isActive, servedTypeOf } from './media-type.ts'

/** What any script may do with a file: read it. It is what players on other pages need. */
export const CORS_HEADERS = ['Access-Control-Allow-Origin', '*'] as const
const EXPOSED = 'Accept-Ranges, Content-Disposition, Content-Length, Content-Range, ETag, Last-Modified'
const SANDBOX = "sandbox; default-src 'none'"
const GENERATIONS_MAX = 4_096

export interface FileHeaders {
  /** Names and values in turn, without length and range. Not to be changed. */
  readonly common: readonly OutgoingHttpHeader[]
  /** The same with the length of the whole file. */
  readonly whole: OutgoingHttpHeader[]
  /** For 304: without what describes content. */
  readonly unchanged: OutgoingHttpHeader[]
  readonly contentType: string
}

export class FileHeaderCache {
  readonly #cacheControl: string
  readonly #byGeneration = new Map<string, FileHeaders>()

  constructor(cacheControl: string) {
    this.#cacheControl = cacheControl
  }

  of(key: FileKey, facts: FileFacts, nowMs: number): FileHeaders {
    const cached = this.#byGeneration.get(facts.generation)
    if (cached) return cached
    const made = this.make(key, facts, nowMs, undefined)
    // A generation is one file's for ever; a legacy server tells none.
    if (facts.generation !== '' && facts.storedAtMs <= nowMs) {
      if (this.#byGeneration.size >= GENERATIONS_MAX) {
        this.#byGeneration.delete(this.#byGeneration.keys().next().value!)
      }
      this.#byGeneration.set(facts.generation, made)
    }
    return made
  }

  /** @param saveAs  `attachment` under this name. */
  make(key: FileKey, facts: FileFacts, nowMs: number, saveAs: string | undefined): FileHeaders {
    const declared = contentTypeOf(facts.mediaType, facts.name, key.file)
    const active = isActive(declared)
    const contentType = servedTypeOf(declared)
    const name = saveAs || facts.name || key.file
    const validators: OutgoingHttpHeader[] = []
    if (facts.generation !== '') validators.push('ETag', `"${facts.generation}"`)
    // A clock that is ahead of ours must not date a file later than the answer (RFC 9110 §8.8.2.1).
    if (facts.storedAtMs > 0)
      validators.push('Last-Modified', formatHttpDate(Math.min(facts.storedAtMs, nowMs)))
    const always: OutgoingHttpHeader[] = [
      ...validators,
      'Cache-Control',
      this.#cacheControl,
      ...CORS_HEADERS,
      'Access-Control-Expose-Headers',
      EXPOSED,
      'Cross-Origin-Resource-Policy',
      'cross-origin'
    ]
    const common: OutgoingHttpHeader[] = [
      'Content-Type',
      contentType,
      'Accept-Ranges',
      'bytes',
      'Content-Disposition',
      contentDisposition(active || saveAs !== undefined ? 'attachment' : 'inline', name),
      'X-Content-Type-Options',
      'nosniff',
      ...always
    ]
    if (active) common.push('Content-Security-Policy', SANDBOX)
    return {
      common,
      whole: [...common, 'Content-Length', String(facts.sizeBytes)],
      unchanged: always,
      contentType
    }
  }
}
