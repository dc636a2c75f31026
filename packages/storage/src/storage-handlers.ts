/** What a storage server answers to each command. Hot paths answer at once, without a promise. */
import type { FileIndex, FileRow } from '@tributary/database'
import {
  decodeDownload,
  decodeFileKey,
  decodeUploadHead,
  encodeInt64,
  extension,
  HEADER_BYTES,
  INLINE_BYTES_MAX,
  PIECE_BYTES_MAX,
  REPLY_CODES,
  checkFileKey,
  isDerivedFileId,
  RejectedError,
  resolveDownload,
  splitFieldBlock,
  UnavailableError,
  writeHeader,
  type FetchRequest,
  type FileKey
} from '@tributary/protocol'
import { replyHeader, replyOf, type Call, type Handlers, type Peer, type Reply } from '@tributary/transport'
import type { Adoption } from './adoption.ts'
import type { Applications } from './applications.ts'
import type { Deletion } from './deletion.ts'
import type { FileRelay } from './file-relay.ts'
import { FileReply, type PieceBuffers } from './file-reply.ts'
import { findExisting } from './existing-file.ts'
import { LargeUpload } from './large-upload.ts'
import { partHandlers, type PartHandlerParts } from './part-handlers.ts'
import type { MediaTypeFinder } from './media-type-finder.ts'
import { CONTENT_BYTES_MAX, type OpenFile, type OpenFiles } from './open-files.ts'
import type { SmallUploads } from './small-uploads.ts'
import type { Trash } from './trash.ts'
import type { Store } from './store.ts'
import { labelsOf } from './upload-labels.ts'
import { randomHex, type UploadLabels } from './upload-record.ts'

/** An announced upload whose body does not come is given up after this time. */
const OFFER_WAIT_MS = 60_000
const EMPTY_REPLY = replyOf('storage')
const OFFER = Symbol('announced upload')

export interface StorageParts extends PartHandlerParts {
  index: FileIndex
  files: OpenFiles
  deletion: Deletion
  trash: Trash
  applications: Applications
  mediaTypes: MediaTypeFinder
  buffers: PieceBuffers
  /** Where a new file of this size goes. @throws {UnavailableError} NO_SPACE, STORE_UNAVAILABLE */
  choose: (sizeBytes: number) => { store: Store; small: SmallUploads | undefined }
  adoption: Adoption
  relay: FileRelay
  /** Refuses new work while the server drains. */
  stopping: () => boolean
}

/** An upload that was announced with STORE and whose body is on its way. */
interface Offer {
  upload: LargeUpload
  /** undefined: in pieces, until an empty one. */
  sizeBytes: number | undefined
  timer: NodeJS.Timeout
}

export function storageHandlers(parts: StorageParts): Handlers<'storage'> {
  const commands = new StorageCommands(parts)
  return {
    UPLOAD: (body, call) => commands.upload(body, call),
    FILESIZE: (body, call) => commands.fileSize(body, call),
    DOWNLOAD: (body, call) => commands.download(body, call),
    DELETE: (body, call) => commands.delete(body, call),
    FETCH: body => commands.fetch(body),
    STORE: (body, call) => commands.store(body, call),
    STORE_BODY: (_body, call) => commands.storeBody(call),
    STAT: body => commands.stat(body),
    ADOPT: (body, call) => commands.adopt(body, call),
    REMOVE: body => commands.remove(body),
    TRASH: body => commands.trash(body),
    ...partHandlers(parts)
  }
}

class StorageCommands {
  readonly #parts: StorageParts

  constructor(parts: StorageParts) {
    this.#parts = parts
  }

  fileSize(body: Buffer, { peer }: Call): Reply | Promise<Reply> {
    const key = decodeFileKey(body)
    const entry = this.#parts.files.open(key)
    if (!(entry instanceof Promise)) return sizeReply(entry)
    return this.#orForwarded('FILESIZE', key, Buffer.from(body), peer, entry.then(sizeReply))
  }

  download(body: Buffer, { peer }: Call): Reply | Promise<Reply> {
    const { key, offset, sizeBytes } = decodeDownload(body)
    const answer = (entry: OpenFile): Reply | Promise<Reply> =>
      this.#bytes(entry, 'download', EMPTY, offset, resolveDownload(offset, sizeBytes, entry.row.sizeBytes))
    const entry = this.#parts.files.open(key)
    if (!(entry instanceof Promise)) return answer(entry)
    return this.#orForwarded('DOWNLOAD', key, Buffer.from(body), peer, entry.then(answer))
  }

  delete(body: Buffer, { peer }: Call): Promise<Reply> {
    this.#mayWrite()
    const key = decodeFileKey(body)
    const deleted = this.#parts.deletion.delete(key).then(() => EMPTY_REPLY)
    return this.#orForwarded('DELETE', key, Buffer.from(body), peer, deleted)
  }

  async remove(body: Buffer): Promise<Reply> {
    this.#mayWrite()
    const request = extension.remove.decode(body)
    await this.#parts.deletion.delete(checkFileKey(keyOf(request)), request.generation, request.fromTrash)
    return EMPTY_REPLY
  }

  async trash(body: Buffer): Promise<Reply> {
    this.#mayWrite()
    const request = extension.trash.decode(body)
    const key = checkFileKey(keyOf(request))
    if (isDerivedFileId(key.file)) throw new RejectedError('BAD_FIELD', 'a derived file goes with its film')
    await this.#parts.trash.set(key, request.generation, request.untilMs)
    return EMPTY_REPLY
  }

  async adopt(body: Buffer, { signal }: Call): Promise<Reply> {
    this.#mayWrite()
    const request = extension.adopt.decode(body)
    checkFileKey(request)
    return storedReply(await this.#parts.adoption.adopt(request, signal))
  }

  /** A file of another group: one of ours is told so and asks there; for any other the request is passed on. */
  async #orForwarded(
    command: 'FILESIZE' | 'DOWNLOAD' | 'DELETE',
    key: FileKey,
    body: Buffer,
    { features }: Peer,
    reply: Promise<Reply>
  ): Promise<Reply> {
    try {
      return await reply
    } catch (error) {
      const isElsewhere = error instanceof RejectedError && error.code === 'WRONG_GROUP'
      if (!isElsewhere || (features & extension.FEATURES.WRONG_GROUP) !== 0) throw error
      return this.#parts.relay.forward(command, key, body)
    }
  }

  stat(body: Buffer): Reply | Promise<Reply> {
    const request = extension.stat.decode(body)
    const key = checkFileKey(keyOf(request))
    const answer = (entry: OpenFile): Reply | Promise<Reply> => {
      const { row } = entry
      const reply = (mediaType: string): Reply =>
        replyOf(
          'storage',
          extension.statReply.encode({ ...factsOf(row, mediaType), nonce: row.nonce, group: row.group })
        )
      const mediaType = this.#parts.mediaTypes.typeOf(entry)
      return typeof mediaType === 'string' ? reply(mediaType) : mediaType.then(reply)
    }
    if (request.trashed) return this.#ofTrashed(key, answer)
    const entry = this.#parts.files.open(key)
    return entry instanceof Promise ? entry.then(answer) : answer(entry)
  }

  /** Somebody of ours moves the file, which may lie in the trash. */
  async #ofTrashed(key: FileKey, answer: (entry: OpenFile) => Reply | Promise<Reply>): Promise<Reply> {
    const entry = await this.#parts.files.openTrashed(key)
    const release = this.#parts.files.use(entry)
    try {
      return await answer(entry)
    } finally {
      release() // a reply that streams uses it by itself
    }
  }

  fetch(body: Buffer): Reply | Promise<Reply> {
    const request = extension.fetch.decode(body)
    const answer = (entry: OpenFile): Reply | Promise<Reply> => {
      const mediaType = this.#parts.mediaTypes.typeOf(entry)
      if (typeof mediaType === 'string') return this.#fetchKnown(entry, request, mediaType)
      const release = this.#parts.files.use(entry)
      return mediaType.then(found => this.#fetchKnown(entry, request, found)).finally(release)
    }
    const key = checkFileKey(request)
    if (request.trashed) return this.#ofTrashed(key, answer)
    const entry = this.#parts.files.open(key)
    return entry instanceof Promise ? entry.then(answer) : answer(entry)
  }

  upload(body: Buffer, { content }: Call): Reply | Promise<Reply> {
    this.#mayWrite()
    const { key, sizeBytes } = decodeUploadHead(body, content.lengthBytes)
    const labels: UploadLabels = { nonce: randomHex(), name: '', mediaType: '' }
    const known = this.#parts.applications.check(key.application)
    const stored = (row: FileRow): Reply => {
      this.#parts.mediaTypes.note(row)
      return EMPTY_REPLY
    }
    if (known) return known.then(() => this.#receive(key, sizeBytes, labels, content)).then(stored)
    return this.#receive(key, sizeBytes, labels, content).then(stored)
  }

  async store(body: Buffer, { peer }: Call): Promise<Reply> {
    this.#mayWrite()
    const { fields, content } = splitFieldBlock(body)
    const request = extension.store.decode(fields)
    checkFileKey(request)
    const labels = labelsOf(request)
    dropOffer(peer)
    if (request.inline) {
      if (content.byteLength > INLINE_BYTES_MAX || content.byteLength !== request.sizeBytes) {
        throw new RejectedError(
          'SIZE_MISMATCH',
          `${content.byteLength} bytes came, ${request.sizeBytes} were announced`
        )
      }
      const copy = Buffer.from(content) // the frame's bytes are not ours beyond this turn
      await this.#parts.applications.check(request.application)
      return this.#stored(await this.#storeWhole(request, copy, labels))
    }
    await this.#parts.applications.check(request.application)
    const there = await this.#findExisting(request, labels, request.sizeBytes)
    if (there) return storedReply(there)
    const { store } = this.#parts.choose(request.sizeBytes ?? 0)
    const upload = await LargeUpload.begin(
      store,
      this.#parts.index,
      keyOf(request),
      request.sizeBytes ?? 0,
      labels
    )
    offer(peer, upload, request.sizeBytes)
    return SEND_REPLY
  }

  async storeBody({ peer, content }: Call): Promise<Reply> {
    const offered = peer.notes.get(OFFER) as Offer | undefined
    if (!offered) throw new RejectedError('BAD_FIELD', 'no upload was announced on this connection')
    const { upload, sizeBytes } = offered
    clearTimeout(offered.timer)
    try {
      if (
        sizeBytes === undefined ? content.lengthBytes > PIECE_BYTES_MAX : content.lengthBytes !== sizeBytes
      ) {
        throw new RejectedError('SIZE_MISMATCH', `a body of ${content.lengthBytes} bytes was not announced`)
      }
      if (sizeBytes === undefined) upload.expect(content.lengthBytes)
      await content.read(chunk => upload.write(chunk))
      if (sizeBytes === undefined && content.lengthBytes > 0) {
        offered.timer = setTimeout(() => dropOffer(peer), OFFER_WAIT_MS)
        return EMPTY_REPLY
      }
      peer.notes.delete(OFFER)
      return this.#stored(await upload.finish())
    } catch (error) {
      peer.notes.delete(OFFER)
      await upload.abort()
      throw error
    }
  }

  #stored(row: FileRow): Reply {
    this.#parts.mediaTypes.note(row)
    return storedReply(row)
  }

  /** Content of an UPLOAD, small or large. */
  async #receive(
    key: FileKey,
    sizeBytes: number,
    labels: UploadLabels,
    content: Call['content']
  ): Promise<FileRow> {
    if (sizeBytes <= CONTENT_BYTES_MAX) {
      let whole = content.takeIfComplete()
      if (!whole) {
        const chunks: Buffer[] = []
        await content.read(chunk => void chunks.push(chunk))
        whole = Buffer.concat(chunks)
      }
      return this.#storeWhole(key, whole, labels)
    }
    await this.#findExisting(key, labels, sizeBytes)
    const { store } = this.#parts.choose(sizeBytes)
    const upload = await LargeUpload.begin(store, this.#parts.index, key, sizeBytes, labels)
    try {
      await content.read(chunk => upload.write(chunk))
      return await upload.finish()
    } finally {
      await upload.abort()
    }
  }

  async #storeWhole(key: FileKey, content: Buffer, labels: UploadLabels): Promise<FileRow> {
    const { store, small } = this.#parts.choose(content.byteLength)
    if (small) {
      try {
        return await small.store(keyOf(key), content, labels)
      } catch (error) {
        if (!(await this.#isFreeAgain(key, error))) throw error
        return small.store(keyOf(key), content, labels)
      }
    }
    await this.#findExisting(key, labels, content.byteLength)
    const upload = await LargeUpload.begin(store, this.#parts.index, keyOf(key), content.byteLength, labels)
    try {
      await upload.write(content)
      return await upload.finish()
    } finally {
      await upload.abort()
    }
  }

  #findExisting(
    key: FileKey,
    labels: UploadLabels,
    sizeBytes: number | undefined
  ): Promise<FileRow | undefined> {
    return findExisting(this.#parts, keyOf(key), labels, sizeBytes)
  }

  /** Whether a name that an upload found taken was that of a half deleted file, which now is deleted. */
  async #isFreeAgain(key: FileKey, error: unknown): Promise<boolean> {
    if (!(error instanceof RejectedError && error.code === 'FILE_EXISTS')) return false
    let row: FileRow | undefined
    try {
      row = await this.#parts.index.find(keyOf(key), { causal: true })
    } catch {
      return false // that it is taken is what is known
    }
    if (row?.state !== 'deleting') return false
    await this.#parts.deletion.finishNow(row)
    return true
  }

  #fetchKnown(entry: OpenFile, request: FetchRequest, mediaType: string): Reply | Promise<Reply> {
    const { row } = entry
    const { sizeBytes, generation } = row
    if (request.generation !== undefined && request.generation !== generation) {
      throw new RejectedError('GENERATION_MISMATCH', 'the file was replaced meanwhile')
    }
    if (request.unlessGeneration === generation) return this.#unchanged(entry, mediaType)
    const ranged =
      (request.start !== undefined || request.suffix !== undefined) &&
      (request.rangeGeneration === undefined || request.rangeGeneration === generation)
    if (!ranged) {
      if (sizeBytes > (request.contentBytesMax ?? Infinity))
        return this.#facts(entry, mediaType, { omitted: true })
      return this.#bytes(entry, 'fetch', wholeBlock(entry, mediaType), 0, sizeBytes)
    }
    const range = rangeOf(request, sizeBytes)
    if (!range) return this.#facts(entry, mediaType, { unsatisfiable: true })
    if (range.lengthBytes > (request.contentBytesMax ?? Infinity)) {
      return this.#facts(entry, mediaType, { ...range, omitted: true })
    }
    const block = fieldBlock(extension.fetchReply.encode({ ...factsOf(row, mediaType), ...range }))
    return this.#bytes(entry, 'fetch', block, range.offset, range.lengthBytes)
  }

  /** Made once: whoever keeps a small file asks no more than this. */
  #unchanged(entry: OpenFile, mediaType: string): Reply {
    const made = entry.replies.get('unchanged')
    if (made) return made
    const reply = this.#facts(entry, mediaType, { notModified: true })
    if (isTypeSettled(entry)) entry.replies.set('unchanged', reply)
    return reply
  }

  #facts(entry: OpenFile, mediaType: string, outcome: object): Buffer {
    return replyOf(
      'storage',
      fieldBlock(extension.fetchReply.encode({ ...factsOf(entry.row, mediaType), ...outcome }))
    )
  }

  /** A reply of `block` and then the file's bytes; whole small files are kept as the reply that they are. */
  #bytes(
    entry: OpenFile,
    kind: string,
    block: Buffer,
    offset: number,
    lengthBytes: number
  ): Reply | Promise<Reply> {
    const { sizeBytes } = entry.row
    if (sizeBytes > CONTENT_BYTES_MAX) {
      if (lengthBytes === 0) return replyOf('storage', block)
      const head = Buffer.concat([replyHeader('storage', block.byteLength + lengthBytes), block])
      return new FileReply(this.#parts.files, this.#parts.buffers, entry, head, offset, lengthBytes)
    }
    const whole = lengthBytes === sizeBytes
    if (whole) {
      const made = entry.replies.get(kind)
      if (made) return made
    }
    const answer = (content: Buffer): Reply => {
      const reply = replyOf('storage', block, content.subarray(offset, offset + lengthBytes))
      if (whole && offset === 0 && !(kind === 'fetch' && block !== entry.block))
        entry.replies.set(kind, reply)
      return reply
    }
    const content = this.#parts.files.content(entry)
    return content instanceof Promise ? content.then(answer) : answer(content)
  }

  #mayWrite(): void {
    if (this.#parts.stopping())
      throw new UnavailableError('SHUTTING_DOWN', 'the storage server is shutting down')
  }
}

const EMPTY = Buffer.alloc(0)
const SEND_REPLY = replyOf('storage', extension.storeReply.encode({ send: true }))

function sizeReply(entry: OpenFile): Reply {
  let reply = entry.replies.get('size')
  if (!reply) {
    reply = Buffer.allocUnsafeSlow(HEADER_BYTES + 8)
    writeHeader(reply, 0, 8, REPLY_CODES.storage)
    encodeInt64(entry.row.sizeBytes).copy(reply, HEADER_BYTES)
    entry.replies.set('size', reply)
  }
  return reply
}

function storedReply(row: FileRow): Reply {
  return replyOf('storage', extension.storeReply.encode(factsOf(row, row.mediaType)))
}

function factsOf(row: FileRow, mediaType: string) {
  const { generation, sizeBytes, crc32, storedAtMs, name } = row
  return { generation, sizeBytes, crc32, storedAtMs, mediaType, name }
}

/** The fields in front of a whole file's content, made once. */
function wholeBlock(entry: OpenFile, mediaType: string): Buffer {
  if (entry.block) return entry.block
  const block = fieldBlock(extension.fetchReply.encode(factsOf(entry.row, mediaType)))
  if (isTypeSettled(entry)) entry.block = block
  return block
}

/** A type that could not be looked for this time is looked for again. */
function isTypeSettled({ row, mediaType }: OpenFile): boolean {
  return row.mediaType !== '' || mediaType !== undefined
}

function fieldBlock(fields: Buffer): Buffer {
  const block = Buffer.allocUnsafe(4 + fields.byteLength)
  block.writeUInt32BE(fields.byteLength, 0)
  fields.copy(block, 4)
  return block
}

function keyOf({ application, user, file }: FileKey): FileKey {
  return { application, user, file }
}

/** The bytes that a FETCH's range means in a file of `sizeBytes`, as HTTP has it; undefined: none of it. */
function rangeOf(
  { start, end, suffix }: FetchRequest,
  sizeBytes: number
): { offset: number; lengthBytes: number } | undefined {
  if (suffix !== undefined) {
    const lengthBytes = Math.min(suffix, sizeBytes)
    return lengthBytes === 0 ? undefined : { offset: sizeBytes - lengthBytes, lengthBytes }
  }
  if (start! >= sizeBytes || (end !== undefined && end < start!)) return undefined
  return { offset: start!, lengthBytes: Math.min(end ?? sizeBytes - 1, sizeBytes - 1) - start! + 1 }
}

function offer(peer: Peer, upload: LargeUpload, sizeBytes: number | undefined): void {
  const timer = setTimeout(() => dropOffer(peer), OFFER_WAIT_MS)
  peer.notes.set(OFFER, { upload, sizeBytes, timer } satisfies Offer)
  if (peer.notes.get(CLOSED) === true) dropOffer(peer)
  if (peer.notes.has(CLOSED)) return
  peer.notes.set(CLOSED, false)
  // At once where it has closed since the request came.
  peer.onClose(() => {
    peer.notes.set(CLOSED, true)
    dropOffer(peer)
  })
}

const CLOSED = Symbol('the connection is gone: offers end with it')

/** It announced an upload whose content is not here yet. */
export function isUploading(peer: Peer): boolean {
  return peer.notes.has(OFFER)
}

function dropOffer(peer: Peer): void {
  const offered = peer.notes.get(OFFER) as Offer | undefined
  if (!offered) return
  peer.notes.delete(OFFER)
  clearTimeout(offered.timer)
  void offered.upload.abort()
}
