/** What the client takes and gives: types only. */
import type { Readable } from 'node:stream'
import type { Address, AppendChecksum, FileFacts, FileKey } from '@tributary/protocol'
import type { PieceTaker, WireTls } from '@tributary/transport'

export interface ClientEvent {
  level: 'info' | 'warn'
  text: string
}

export interface ClientOptions {
  /** `host:port`, `host` (port 21000) or addresses; tried in turn, starting at the last good one. */
  trackers: readonly (string | Address)[]
  /** Longest wait for one reply. Default CALL_TIMEOUT_MS. */
  callTimeoutMs?: number
  /** Default CONNECT_TIMEOUT_MS of the transport. */
  connectTimeoutMs?: number
  /** Longest wait for the reply to an upload whose last byte has left. Default COMMIT_TIMEOUT_MS. */
  commitTimeoutMs?: number
  /** Longest silence in the middle of a transfer. Default SILENCE_MS. */
  silenceMs?: number
  /**
   * For so long a request that nobody could serve (no storage server ready, all busy, …) is tried again.
   * 0: each server once. Default RETRY_FOR_MS.
   */
  retryForMs?: number
  /** Connections to one server. */
  connectionsPerPeerMax?: number
  /**
   * Memory for content of small files (up to 64 KiB) that are fetched whole again and again: a storage server is then
   * only asked whether it is unchanged. Bytes of such files are shared and must not be written to. Default 0: none.
   */
  keptContentBytesMax?: number
  /** Version of the program, for the servers' logs. */
  version?: string
  /** Where the cluster has one: it is proved to every server, and every server has to prove it. */
  clusterKey?: string | undefined
  /** TLS is spoken to every server; undefined: to none. */
  tls?: WireTls | undefined
  /** Told what was survived: a server that failed, another one taken. */
  onEvent?: (event: ClientEvent) => void
}

export interface Progress {
  doneBytes: number
  /** undefined: not known, as when reading a stream. */
  totalBytes: number | undefined
}
export type ProgressListener = (progress: Progress) => void

/** What an upload reads: a path (or file: URL), bytes, or a stream that can be read once. */
export type UploadSource = string | URL | Uint8Array | AsyncIterable<Uint8Array>

export interface SourceReader {
  /**
   * The next bytes, in parts of some hundred KiB; undefined at the end. `reusable` says that
   * the buffers of earlier calls have left and may be filled again.
   */
  read(reusable: boolean): Promise<Buffer | undefined>
}

export interface UploadOptions {
  key: FileKey
  /** Of a stream, where it is known. With fewer or more bytes the upload fails as SIZE_MISMATCH. */
  sizeBytes?: number | undefined
  /** File name to be shown; default the path's last part. */
  name?: string | undefined
  /** Default: what the storage server finds in the content. */
  mediaType?: string | undefined
  /** 32 hexadecimal digits. The same nonce again is the same upload. Default: random. */
  nonce?: string | undefined
  /** For a file derived from another one: it is stored in that one's group. */
  beside?: FileKey | undefined
  /** IP address of whom the upload is made for, as a gateway knows it: it may choose the region of a new user. */
  clientIp?: string | undefined
  signal?: AbortSignal | undefined
  onProgress?: ProgressListener | undefined
}

/** An upload that is stored. From a legacy server only key and size are known. */
export interface Uploaded {
  key: FileKey
  generation: string
  sizeBytes: number
  crc32: number
  mediaType: string
  storedAtMs: number
}

export interface FetchOptions {
  /** First byte wanted; together with `end` or alone. */
  start?: number | undefined
  /** Last byte wanted, inclusive; beyond the file's end it is cut. */
  end?: number | undefined
  /** The last so many bytes; instead of start and end. */
  suffix?: number | undefined
  /** Only this generation; another one is GENERATION_MISMATCH. */
  generation?: string | undefined
  /** No content when this is still the generation: `not-modified`. */
  unlessGeneration?: string | undefined
  /** The range counts only for this generation; of another one the whole file comes. */
  rangeGeneration?: string | undefined
  /** The content is not sent along, whatever its size: for HEAD. `stream` still gets it. */
  factsOnly?: boolean | undefined
  signal?: AbortSignal | undefined
}

/** Facts only: the condition held, or the range lies outside of the file. */
export interface FetchedFacts {
  facts: FileFacts
  outcome: 'not-modified' | 'unsatisfiable'
}

/** Content: `bytes` when it is small, else `stream`; call exactly one of `stream` and `cancel` then. */
export interface FetchedContent {
  facts: FileFacts
  outcome: 'content'
  /** First byte of the content within the file */
  offset: number
  lengthBytes: number
  /** It is the whole file: no range, or one that does not count. */
  whole: boolean
  bytes?: Buffer
  /**
   * Gives the content piece by piece; see PieceTaker for who owns what. Goes on with another server, from the byte
   * reached, when one dies or falls silent. Resolves after the last piece was given.
   *
   * @throws {UnavailableError} no server could go on. {RejectedError} GENERATION_MISMATCH: the file was replaced.
   */
  stream?(taker: PieceTaker, options?: { signal?: AbortSignal | undefined }): Promise<void>
  /** The content is not wanted, or no more. Idempotent. */
  cancel(): void
}
/** Facts of a legacy server: generation '', crc32 0, storedAtMs 0, mediaType '', name ''. */
export type Fetched = FetchedFacts | FetchedContent

export interface DownloadOptions {
  start?: number | undefined
  end?: number | undefined
  suffix?: number | undefined
  generation?: string | undefined
  signal?: AbortSignal | undefined
  onProgress?: ProgressListener | undefined
}

export interface Download {
  facts: FileFacts
  /** First byte within the file. */
  offset: number
  lengthBytes: number
  /** Back-pressured. Of a whole file the checksum is compared before it ends: CHECKSUM_MISMATCH destroys it. */
  stream: Readable
}

export interface DownloadToFileOptions {
  /** Replaces a file of that name; else FILE_EXISTS. */
  overwrite?: boolean | undefined
  /** Ignores what an earlier, broken download left in `<path>.part`. */
  restart?: boolean | undefined
  signal?: AbortSignal | undefined
  onProgress?: ProgressListener | undefined
}

export interface DownloadedFile {
  facts: FileFacts
  path: string
  /** Bytes that an earlier download had left. */
  resumedBytes: number
}

/** What is known of a file. From a legacy server: the size only; the rest is 0 or ''. */
export interface FileStat extends FileFacts {
  key: FileKey
  group: string
}

export interface ListOptions {
  application: string
  user: string
  /** Files after this id, in byte order. */
  after?: string | undefined
  /** Default and most: LIST_LIMIT_MAX of the protocol. */
  limit?: number | undefined
  signal?: AbortSignal | undefined
}

export interface CallOptions {
  signal?: AbortSignal | undefined
}

/** Where a part lies in the whole that it belongs to: parts that say so are joined without being copied. */
export interface PartPlace {
  /** 32 hexadecimal digits that the parts of one whole have in common; whoever uploads chooses them. */
  whole: string
  /** Number of this part, from 0. */
  part: number
  /** How many there are. All have totalBytes / parts bytes, rounded down; the last one has the rest too. */
  parts: number
  totalBytes: number
}

export interface CreateUploadOptions {
  application: string
  user: string
  /** Absent: a part, to be joined with others. */
  file?: string | undefined
  /** 32 hexadecimal digits that nobody can guess. The same id again is the same upload. Default: random. */
  id?: string | undefined
  sizeBytes: number
  name?: string | undefined
  mediaType?: string | undefined
  /** Kept with the upload as it is; at most 12 KiB. */
  metadata?: string | undefined
  place?: PartPlace | undefined
  /** Ids of finished parts: the upload is these, in this order. */
  joins?: readonly string[] | undefined
  clientIp?: string | undefined
  signal?: AbortSignal | undefined
}

/** What is known of a resumable upload. */
export interface UploadStatus {
  id: string
  application: string
  user: string
  /** '': a part. */
  file: string
  sizeBytes: number
  /** So many bytes are on disk, from the first on: the upload goes on there. */
  offsetBytes: number
  /** Of these. */
  crc32: number
  /** Grows whenever somebody begins to write. */
  fence: number
  group: string
  /** UNIX milliseconds; every append puts it off. */
  expiresMs: number
  name: string
  mediaType: string
  metadata: string
  /** Of the file that was made of it; undefined: not yet. */
  generation: string | undefined
  /** Ids of its parts. */
  joins: readonly string[]
}

export interface AppendOptions {
  /** Where in the upload the content begins; the server has so many bytes, or refuses. */
  offsetBytes: number
  /** Of this content. */
  sizeBytes: number
  /** The token seen last: when somebody else has written since, UPLOAD_TAKEN. Default: whichever it is. */
  fence?: number | undefined
  /** The content counts as a whole, if this is its checksum; else UPLOAD_CHECKSUM. */
  checksum?: AppendChecksum | undefined
  signal?: AbortSignal | undefined
  onProgress?: ((doneBytes: number) => void) | undefined
}

export interface ReadUploadOptions {
  start: number
  /** At most PART_READ_BYTES_MAX of the protocol come at a time. */
  lengthBytes: number
  signal?: AbortSignal | undefined
}

/**
 * Resumable uploads, step by step. Whatever was answered is on disk: the upload goes on there through any client, any
 * gateway and any storage server of its group.
 */
export interface ResumableUploads {
  /** @throws {RejectedError} FILE_EXISTS. {UnavailableError} NO_SPACE, … */
  create(options: CreateUploadOptions): Promise<UploadStatus>
  /** @throws {RejectedError} UPLOAD_NOT_FOUND: it never was, or its time is over. */
  status(id: string, options?: CallOptions): Promise<UploadStatus>
  /**
   * Appends what `source` gives. When it fails in the middle, what came is kept, as far as `status` says.
   *
   * @throws {RejectedError} UPLOAD_OFFSET, UPLOAD_TAKEN, UPLOAD_CHECKSUM, SIZE_MISMATCH
   */
  append(id: string, source: SourceReader, options: AppendOptions): Promise<UploadStatus>
  /** Makes it a file. It may be asked for again: the same upload is stored once. @throws {RejectedError} FILE_EXISTS, UPLOAD_OFFSET */
  commit(id: string, options?: CallOptions): Promise<Uploaded>
  /** Gives it up. A file that was made of it stays. */
  abort(id: string, options?: CallOptions): Promise<void>
  /** What has been acknowledged can be read already; fewer bytes come at its end. */
  read(id: string, options: ReadUploadOptions): Promise<{ status: UploadStatus; bytes: Buffer }>
}

export interface ResumableOptions {
  key: FileKey
  /** As for `create`. Kept by whoever wants to go on after the end of this program. */
  id?: string | undefined
  /** An upload of this id was begun before, and goes on. */
  isBegun?: boolean | undefined
  name?: string | undefined
  mediaType?: string | undefined
  clientIp?: string | undefined
  /** For so long without a byte more it is tried again. Default RESUME_FOR_MS. */
  resumeForMs?: number | undefined
  signal?: AbortSignal | undefined
  onProgress?: ProgressListener | undefined
}
