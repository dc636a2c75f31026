/** What the generator is told to do, and what it says of it. */

export interface Target {
  host: string
  port: number
}

/** Requests with one in flight on each connection, for a time. Replies are checked; a wrong one ends the run. */
export interface ExchangeTask {
  kind: 'exchange'
  operation: 'size' | 'addresses' | 'id' | 'download' | 'upload' | 'http'
  target: Target
  connections: number
  durationMs: number
  /** Goes on until so many are done, six times as long at most: code is compiled by then. Default: time alone. */
  requestsMin?: number
  /** `upload`: in front of the file ids, so that no round meets another's files. */
  prefix?: string
  /** `id`: key. */
  key?: string
}

/** One large file each over several connections at once. */
export interface StreamTask {
  kind: 'download' | 'upload' | 'http-download' | 'http-upload' | 'http-resumable'
  target: Target
  connections: number
  bytes: number
  /** Uploads: file id. */
  file?: string
  /** Check every byte, and not only some of each chunk. */
  verify: boolean
}

/** Transfers of a large file, each slowed down to a chunk now and then, held until told to let go. */
export interface HoldTask {
  kind: 'hold'
  direction: 'download' | 'upload' | 'http-download' | 'http-upload'
  target: Target
  connections: number
  bytes: number
  holdMs: number
}

/** Segments of films, one request after another on each connection, for a time. */
export interface SegmentsTask {
  kind: 'segments'
  target: Target
  connections: number
  paths: readonly string[]
  durationMs: number
}

/** A viewer for each film. */
export interface ViewersTask {
  kind: 'viewers'
  target: Target
  /** Of each film the addresses of a segment; `#` stands for its number. */
  films: readonly (readonly string[])[]
  segmentMs: number
  /** Segments that each takes. */
  rounds: number
}

/** Stores the hot files and the large one. */
export interface PrepareTask {
  kind: 'prepare'
  target: Target
  bigBytes: number
}

/** Asks for the size of files, and deletes them. */
export interface RemoveTask {
  kind: 'remove'
  target: Target
  file: string
  bytes: number
}

export type Task =
  | ExchangeTask
  | StreamTask
  | HoldTask
  | PrepareTask
  | RemoveTask
  | SegmentsTask
  | ViewersTask

export interface TaskResult {
  requests: number
  bytes: number
  elapsedMs: number
}
