/**
 * The HTTP API as its callers see it. Source: docs/HTTP-API.md. Pages import types only: what is a value here (schemas, the table
 * of endpoints) makes routes and the OpenAPI document.
 */
export type * from './access.ts'
export type * from './cluster.ts'
export type { BodyOf, Endpoint, ParametersOf, QueryOf, ReplyOf, Right } from './endpoint.ts'
export type { EndpointName, EndpointOf, ENDPOINTS } from './endpoints.ts'
export type * from './films.ts'
export type * from './jobs.ts'

/** A stored file: in lists, and in the answer to an upload. */
export interface FileEntry {
  application: string
  user: string
  file: string
  /** Absolute path of its URL, percent-encoded. */
  url: string
  /** File name to be shown; empty where the upload gave none. */
  name: string
  sizeBytes: number
  mediaType: string
  /** Unique per upload, never reused; quoted, it is the strong ETag. Empty: a legacy server has it. */
  generation: string
  /** CRC-32 of the content, 8 lower-case hexadecimal digits. */
  crc32: string
  /** ISO 8601, UTC; empty where it is not known. */
  storedAt: string
}

/** GET /files/{application}/{user}?after=&limit= — in byte order of the file id. */
export interface FilePage {
  files: FileEntry[]
  /** Give it as `after` to get what follows; null: this was the last page. */
  next: string | null
}

/** Every error, as application/problem+json (RFC 9457). */
export interface ProblemBody {
  type: 'about:blank'
  title: string
  status: number
  /** In words, for people. */
  detail: string
  /** From docs/ERRORS.md, or HTTP's own status phrase in capitals. */
  code: string
}

/** GET /about.json — what a page needs to know before it begins. */
export interface About {
  version: string
  /** Used by `/files/{file}`. */
  application: string
  user: string
  /** Writes need `Authorization: Bearer …`. */
  writeToken: boolean
  uploadBytesMax: number
}
