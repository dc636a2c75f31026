import {
  checkFileKey,
  COMMANDS,
  encodeFileKey,
  encodeFrame,
  extension,
  formatFileKey,
  RejectedError,
  type ClusterReply,
  type FileKey,
  type ListedFile
} from '@tributary/protocol'
import type { CallArguments, CallName, CallResult } from '@tributary/calls'
import { PeerPool } from '@tributary/transport'
import type {
  CallOptions,
  ClientOptions,
  Download,
  DownloadedFile,
  DownloadOptions,
  DownloadToFileOptions,
  Fetched,
  FetchOptions,
  FileStat,
  ListOptions,
  ResumableOptions,
  ResumableUploads,
  Uploaded,
  UploadOptions,
  UploadSource
} from './contract.ts'
import { downloadToFile } from './download-file.ts'
import { readableOf } from './download-stream.ts'
import { Fetcher, sizeFrame } from './fetcher.ts'
import { KeptContents } from './kept-contents.ts'
import { whileAlive } from './liveness.ts'
import { Locations } from './locations.ts'
import { MemberCalls } from './member-calls.ts'
import { Members } from './members.ts'
import { PartCalls } from './part-calls.ts'
import { readFields, readSize } from './peer-reply.ts'
import { uploadResumable } from './resumable-upload.ts'
import { Remover } from './remover.ts'
import { abortable, CALL_TIMEOUT_MS, COMMIT_TIMEOUT_MS, RETRY_FOR_MS, SILENCE_MS } from './retry-rules.ts'
import { TrackerCalls, type TrackerProbe } from './tracker-calls.ts'
import { Uploader } from './uploader.ts'

/** A cluster, as a program sees it. Keeps pooled connections; `close` ends them. */
export class Client {
  readonly #pools: { trackers: PeerPool; reads: PeerPool; writes: PeerPool }
  readonly #trackers: TrackerCalls
  readonly #calls: MemberCalls
  readonly #fetcher: Fetcher
  readonly #uploader: Uploader
  readonly #remover: Remover
  /** Resumable uploads, step by step. */
  readonly uploads: ResumableUploads
  readonly #timeoutMs: number

  /** @throws {RejectedError} BAD_FIELD: a tracker's address cannot be read. */
  constructor(options: ClientOptions) {
    const { callTimeoutMs = CALL_TIMEOUT_MS, silenceMs = SILENCE_MS, version = '' } = options
    const { clusterKey, tls } = options
    const { commitTimeoutMs = Math.max(COMMIT_TIMEOUT_MS, callTimeoutMs), onEvent = () => {} } = options
    const pool = {
      greeting: { role: 'client', cluster: '', version, clusterKey, tls } as const,
      ...(options.connectTimeoutMs !== undefined && { connectTimeoutMs: options.connectTimeoutMs }),
      ...(options.connectionsPerPeerMax !== undefined && {
        connectionsPerPeerMax: options.connectionsPerPeerMax
      })
    }
    // Reads do not wait behind an upload that is being made durable: uploads have connections of their own.
    this.#pools = {
      trackers: new PeerPool({ role: 'tracker', ...pool }),
      reads: new PeerPool({ role: 'storage', ...pool }),
      writes: new PeerPool({ role: 'storage', cutsSilent: true, ...pool })
    }
    const { trackers, reads, writes } = this.#pools
    this.#timeoutMs = callTimeoutMs
    this.#trackers = new TrackerCalls(options.trackers, trackers, callTimeoutMs, onEvent)
    const members = new Members()
    const locations = new Locations(this.#trackers, members)
    this.#calls = new MemberCalls(members, locations, options.retryForMs ?? RETRY_FOR_MS, onEvent)
    const kept = new KeptContents(options.keptContentBytesMax ?? 0)
    this.#fetcher = new Fetcher(this.#calls, reads, { callTimeoutMs, silenceMs }, kept)
    this.#uploader = new Uploader(this.#calls, writes, { callTimeoutMs, commitTimeoutMs, silenceMs })
    this.uploads = new PartCalls(this.#calls, this.#trackers, writes, {
      callTimeoutMs,
      commitTimeoutMs,
      silenceMs
    })
    this.#remover = new Remover(this.#calls, writes, { callTimeoutMs, commitTimeoutMs }, (key, signal) =>
      this.stat(key, { signal })
    )
  }

  /** A certificate that was renewed, and authorities, for new connections; those that are open stay. */
  useTls(tls: ClientOptions['tls']): void {
    for (const pool of Object.values(this.#pools)) pool.useTls(tls)
  }

  /**
   * Stores a new file. A server that fails is replaced by another one where the bytes can be read again (paths,
   * bytes, short streams); a lost reply is settled by asking. Legacy servers need to know the size beforehand.
   *
   * @throws {RejectedError} FILE_EXISTS: another upload has this key. SIZE_MISMATCH, BAD_FIELD, UNKNOWN_APPLICATION.
   * @throws {UnavailableError} nothing was stored. {OutcomeUnknownError} it may have been.
   */
  async upload(source: UploadSource, options: UploadOptions): Promise<Uploaded> {
    checkFileKey(options.key)
    return this.#uploader.upload(source, options)
  }

  /**
   * Stores a file at `path` by a resumable upload: a server that dies costs a moment, and so does this program, where the
   * caller keeps the upload's id and gives it again with `isBegun`.
   *
   * @throws {RejectedError} FILE_EXISTS; UPLOAD_CHECKSUM, SIZE_MISMATCH: the file is not the one that was begun;
   *   UPLOAD_TAKEN: another program goes on with it; UPLOAD_NOT_FOUND: its time is over.
   */
  async uploadResumable(path: string, options: ResumableOptions): Promise<Uploaded> {
    checkFileKey(options.key)
    return uploadResumable(this.uploads, path, options)
  }

  /**
   * Facts, condition and content, in one round trip where the content is small.
   *
   * @throws {RejectedError} FILE_NOT_FOUND, GENERATION_MISMATCH. {UnavailableError} nobody can serve it now.
   */
  fetch(key: FileKey, options: FetchOptions = NO_OPTIONS): Promise<Fetched> {
    return this.#fetcher.fetch(key, options)
  }

  /**
   * A file or a range of it, as a stream. A range that begins behind the end is BAD_RANGE.
   *
   * @throws as fetch.
   */
  async download(key: FileKey, options: DownloadOptions = NO_OPTIONS): Promise<Download> {
    const { onProgress, ...range } = options
    const fetched = await this.fetch(key, range)
    if (fetched.outcome !== 'content') throw outOfRange(key, fetched.facts.sizeBytes)
    const { facts, offset, lengthBytes } = fetched
    return { facts, offset, lengthBytes, stream: readableOf(key, fetched, options.signal, onProgress) }
  }

  /** Downloads to `<path>.part`, going on where an earlier try of the same generation broke off, then renames it. */
  async downloadToFile(
    key: FileKey,
    path: string,
    options: DownloadToFileOptions = NO_OPTIONS
  ): Promise<DownloadedFile> {
    checkFileKey(key)
    return downloadToFile((wanted, range) => this.fetch(wanted, range), key, path, options)
  }

  /** @throws {RejectedError} FILE_NOT_FOUND. */
  async stat(key: FileKey, { signal }: CallOptions = NO_OPTIONS): Promise<FileStat> {
    checkFileKey(key)
    return this.#calls.ask(key, signal, async (member, location) => {
      let ours = true
      const reply = this.#pools.reads.call(
        member.address,
        knows => {
          ours = knows
          return knows ? encodeFrame(COMMANDS.STAT.code, extension.stat.encode(key)) : sizeFrame(key)
        },
        { timeoutMs: this.#timeoutMs }
      )
      const body = await abortable(whileAlive(reply, this.#pools.reads, member.address), signal)
      if (ours) return { key, ...factsOf(readFields(extension.statReply, body)) }
      const sizeBytes = readSize(body)
      const { group } = location
      return { key, group, sizeBytes, generation: '', crc32: 0, storedAtMs: 0, mediaType: '', name: '' }
    })
  }

  /** Bytes. @throws {RejectedError} FILE_NOT_FOUND. */
  async size(key: FileKey, { signal }: CallOptions = NO_OPTIONS): Promise<number> {
    checkFileKey(key)
    const frame = encodeFrame(COMMANDS.FILESIZE.code, encodeFileKey(key))
    return this.#calls.ask(key, signal, async ({ address }) => {
      const reply = this.#pools.reads.call(address, () => frame, { timeoutMs: this.#timeoutMs })
      return readSize(await abortable(whileAlive(reply, this.#pools.reads, address), signal))
    })
  }

  /**
   * Deletes for good the file that has this key now, never one that gets it later: a lost reply is settled by asking again.
   *
   * @throws {RejectedError} FILE_NOT_FOUND.
   */
  async delete(key: FileKey, { signal }: CallOptions = NO_OPTIONS): Promise<void> {
    checkFileKey(key)
    await this.#remover.delete(key, signal)
  }

  /**
   * Deletes for good this generation and no later one, in the trash or not.
   *
   * @param options `fromTrash`: only while it is there; what was taken out of the trash is FILE_NOT_FOUND.
   * @throws {RejectedError} FILE_NOT_FOUND.
   */
  async deleteGeneration(
    key: FileKey,
    generation: string,
    { signal, fromTrash = false }: CallOptions & { fromTrash?: boolean } = NO_OPTIONS
  ): Promise<void> {
    checkFileKey(key)
    await this.#remover.deleteGeneration(key, generation, fromTrash, signal)
  }

  /**
   * Puts this generation of a file into the trash, where nobody reads it, until it is deleted for good; 0 takes it out.
   *
   * @param untilMs UNIX milliseconds.
   * @throws {RejectedError} FILE_NOT_FOUND.
   */
  async trash(
    key: FileKey,
    generation: string,
    untilMs: number,
    { signal }: CallOptions = NO_OPTIONS
  ): Promise<void> {
    checkFileKey(key)
    await this.#remover.trash(key, generation, untilMs, signal)
  }

  /** One page of a user's files, in byte order of their ids. */
  async list(options: ListOptions): Promise<{ files: ListedFile[]; more: boolean }> {
    const { application, user, after = '', limit = extension.LIST_LIMIT_MAX, signal } = options
    checkFileKey({ application, user, file: after }, true)
    return this.#trackers.list(
      { application, user, after, limit: Math.min(limit, extension.LIST_LIMIT_MAX) },
      signal
    )
  }

  /**
   * Asks the index, through a tracker: library, jobs, access …, see the package `calls`.
   *
   * @throws {RejectedError} what the method refuses. {OutcomeUnknownError} of one that must not be repeated unseen.
   */
  index<N extends CallName>(
    name: N,
    args: CallArguments<N>,
    { signal }: CallOptions = NO_OPTIONS
  ): Promise<CallResult<N>> {
    return this.#trackers.index(name, args, signal)
  }

  /** The cluster's groups and their members, for programs. */
  groups({ signal }: CallOptions = NO_OPTIONS): Promise<ClusterReply> {
    return this.#trackers.cluster(signal)
  }

  /** Each tracker by itself: does it answer, how fast, and what is it. Never rejects for one that is silent. */
  trackers({ signal }: CallOptions = NO_OPTIONS): Promise<TrackerProbe[]> {
    return this.#trackers.probe(signal)
  }

  /** The same as text for people, as the tracker writes it. */
  groupsText({ signal }: CallOptions = NO_OPTIONS): Promise<string> {
    return this.#trackers.groupsText(signal)
  }

  /** Calls under way and later ones end with SHUTTING_DOWN; a change that may have been made with OUTCOME_UNKNOWN. */
  close(): void {
    this.#calls.close()
    for (const pool of Object.values(this.#pools)) pool.close()
  }
}

const NO_OPTIONS = {}

function outOfRange(key: FileKey, sizeBytes: number): RejectedError {
  return new RejectedError(
    'BAD_RANGE',
    `the range lies outside of ${formatFileKey(key)}, which has ${sizeBytes} bytes`
  )
}

function factsOf(stat: ReturnType<typeof extension.statReply.decode>): Omit<FileStat, 'key'> {
  const { generation, sizeBytes, crc32, storedAtMs, mediaType, name, group } = stat
  return { generation, sizeBytes, crc32, storedAtMs, mediaType, name, group }
}
