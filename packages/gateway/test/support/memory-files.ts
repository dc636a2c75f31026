/** The client's interface over memory: for the semantics of HTTP alone. What the wire does is tested on real servers. */
import { randomBytes } from 'node:crypto'
import { crc32 } from 'node:zlib'
import type { AccessChanges, CallName, CallResult } from '@tributary/calls'
import type {
  Fetched,
  FetchOptions,
  FileStat,
  ListOptions,
  Uploaded,
  UploadOptions,
  UploadSource
} from '@tributary/client'
import { mapKeyOf, RejectedError, UnavailableError, type FileKey } from '@tributary/protocol'
import type { FileService } from '../../src/index.ts'

export interface StoredFile {
  stat: FileStat
  bytes: Buffer
}

/** Content up to this size comes in one piece, as from the real client. */
const INLINE_BYTES = 64 * 1024
const PIECE_BYTES = 256 * 1024

export class MemoryFiles implements FileService {
  readonly stored = new Map<string, StoredFile>()
  /** Calls by name, for tests that ask how much was done. */
  readonly calls: string[] = []
  /** Pieces given and not given back yet. */
  piecesOut = 0
  piecesGiven = 0
  cancelled = 0
  /** Runs before an upload's content is asked for. */
  beforeContent: (() => Promise<void>) | undefined
  /** Runs after a stat, before its answer is given: to replace the file in between. */
  afterStat: (() => void) | undefined

  put(key: FileKey, bytes: Buffer | string, facts: Partial<FileStat> = {}): FileStat {
    const content = Buffer.from(bytes)
    const stat: FileStat = {
      key,
      group: 'group001',
      generation: randomBytes(16).toString('hex'),
      sizeBytes: content.byteLength,
      crc32: crc32(content),
      storedAtMs: Date.UTC(2026, 0, 2, 3, 4, 5, 678),
      mediaType: 'video/mp4',
      name: '',
      ...facts
    }
    this.stored.set(mapKeyOf(key), { stat, bytes: content })
    return stat
  }

  async fetch(key: FileKey, options: FetchOptions = {}): Promise<Fetched> {
    this.calls.push('fetch')
    const { stat: facts, bytes } = this.#find(key)
    const { generation, unlessGeneration, rangeGeneration, suffix } = options
    if (generation !== undefined && generation !== facts.generation) {
      throw new RejectedError('GENERATION_MISMATCH', 'another generation')
    }
    if (unlessGeneration === facts.generation) return { facts, outcome: 'not-modified' }
    let start = 0
    let end = bytes.byteLength - 1
    let whole = true
    const counts = rangeGeneration === undefined || rangeGeneration === facts.generation
    if (counts && (options.start !== undefined || suffix !== undefined)) {
      whole = false
      if (suffix !== undefined) start = Math.max(0, bytes.byteLength - suffix)
      else start = options.start!
      if (options.end !== undefined) end = Math.min(end, options.end)
      if (suffix === 0 || start >= bytes.byteLength) return { facts, outcome: 'unsatisfiable' }
    }
    const content = bytes.subarray(start, end + 1)
    const common = {
      facts,
      outcome: 'content',
      offset: start,
      lengthBytes: content.byteLength,
      whole
    } as const
    if (content.byteLength <= INLINE_BYTES)
      return { ...common, bytes: Buffer.from(content), cancel: () => {} }
    const flow = { held: 0, cancelled: false, wake: () => {} }
    return {
      ...common,
      stream: async taker => {
        for (let at = 0; at < content.byteLength; at += PIECE_BYTES) {
          while (flow.held >= 2 && !flow.cancelled) await new Promise<void>(resolve => (flow.wake = resolve))
          if (flow.cancelled) throw new RejectedError('FILE_NOT_FOUND', 'cancelled')
          flow.held++
          this.piecesOut++
          this.piecesGiven++
          let released = false
          taker(Buffer.from(content.subarray(at, at + PIECE_BYTES)), () => {
            if (released) return
            released = true
            flow.held--
            this.piecesOut--
            flow.wake()
          })
        }
      },
      cancel: () => {
        this.cancelled++
        flow.cancelled = true
        flow.wake()
      }
    }
  }

  /** There is no index behind this memory: nobody has rules or tokens, and nothing else is known. */
  async index<N extends CallName>(name: N): Promise<CallResult<N>> {
    if (name !== 'access.changes') throw new UnavailableError('NO_STORAGE_READY', 'there is no index')
    const nothing: AccessChanges = { revision: 1, more: false, tokens: [], rules: [], keys: [], webhooks: 0 }
    return nothing as unknown as CallResult<N>
  }

  trash(): never {
    throw new UnavailableError('NO_STORAGE_READY', 'there is no index')
  }

  deleteGeneration(): never {
    throw new UnavailableError('NO_STORAGE_READY', 'there is no index')
  }

  get uploads(): never {
    throw new UnavailableError('CONNECTION_LOST', 'there are no resumable uploads in this memory')
  }

  async trackers(): Promise<[]> {
    return []
  }

  async stat(key: FileKey): Promise<FileStat> {
    this.calls.push('stat')
    const { stat } = this.#find(key)
    this.afterStat?.()
    return stat
  }

  async upload(
    source: UploadSource,
    { key, signal, sizeBytes, name, mediaType }: UploadOptions
  ): Promise<Uploaded> {
    this.calls.push('upload')
    if (this.stored.has(mapKeyOf(key))) throw new RejectedError('FILE_EXISTS', `${key.file} already exists`)
    await this.beforeContent?.()
    const chunks: Uint8Array[] = []
    const aborted = new Promise<never>((_, reject) => {
      signal?.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
    })
    aborted.catch(() => {})
    const iterator = (source as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]()
    for (;;) {
      const { value, done } = await Promise.race([iterator.next(), aborted])
      if (done) break
      chunks.push(value)
    }
    const bytes = Buffer.concat(chunks)
    if (sizeBytes !== undefined && bytes.byteLength !== sizeBytes) {
      throw new RejectedError('SIZE_MISMATCH', `${bytes.byteLength} bytes came of ${sizeBytes}`)
    }
    return this.put(key, bytes, { name: name ?? '', mediaType: mediaType ?? 'application/octet-stream' })
  }

  async delete(key: FileKey): Promise<void> {
    this.calls.push('delete')
    this.#find(key)
    this.stored.delete(mapKeyOf(key))
  }

  async list({ application, user, after = '', limit = 1_000 }: ListOptions): ReturnType<FileService['list']> {
    this.calls.push('list')
    const all = [...this.stored.values()]
      .filter(({ stat: { key } }) => key.application === application && key.user === user && key.file > after)
      .map(({ stat }) => ({ ...stat, file: stat.key.file }))
      .sort((one, other) => (one.file < other.file ? -1 : 1))
    return { files: all.slice(0, limit), more: all.length > limit }
  }

  async groups(): ReturnType<FileService['groups']> {
    return { cluster: 'c', groups: [] }
  }

  close(): void {}

  #find(key: FileKey): StoredFile {
    const found = this.stored.get(mapKeyOf(key))
    if (!found) throw new RejectedError('FILE_NOT_FOUND', `no file ${key.file}`)
    return found
  }
}
