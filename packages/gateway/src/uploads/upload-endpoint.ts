/**
 * Resumable uploads over HTTP: tus 1.0 at `/uploads`. The gateway keeps nothing of them: what it is asked it asks the
 * storage servers, so that an upload goes on through any gateway.
 */
import type { OutgoingHttpHeader } from 'node:http'
import { makeFileId, type CreateUploadOptions, type UploadStatus } from '@tributary/client'
import { isDerivedFileId, type AppendChecksum } from '@tributary/protocol'
import type { Clock } from '@tributary/runtime'
import type { EventTeller } from '../access/event-teller.ts'
import type { Quotas } from '../access/quotas.ts'
import { cleanName } from '../content-disposition.ts'
import { methodNotAllowed, sendWhole, type Exchange } from '../exchange.ts'
import type { FileService } from '../file-service.ts'
import { isAddressable, pathOf, type Owner } from '../file-target.ts'
import { formatHttpDate } from '../http-date.ts'
import { noteInLibrary } from '../library-note.ts'
import { declaredType, essence, extensionOf, guessType } from '../media-type.ts'
import { HttpProblem } from '../problem.ts'
import { uploadedEvent } from '../uploaded-event.ts'
import { tooLarge, UploadContent } from '../upload-content.ts'
import {
  CHECKSUM_ALGORITHMS,
  readChecksum,
  readConcat,
  readCount,
  readMetadata,
  readPlace,
  readUploadId,
  TUS_EXTENSIONS,
  TUS_VERSION,
  UPLOADS_PREFIX,
  type Concat
} from './tus-headers.ts'

export interface UploadEndpointOptions {
  files: Pick<FileService, 'uploads' | 'index'>
  clock: Clock
  /** Whose an upload is that does not say it. */
  owner: Owner
  uploadBytesMax: number
  uploadsMax: number
  silenceMs: number
  quotas: Quotas
  events: EventTeller
  /** @throws {HttpProblem} who asks may not write there. */
  admitWrite: (exchange: Exchange, scope: Owner) => Promise<void>
}

const CONTENT_TYPE = 'application/offset+octet-stream'
const CREATION_METHODS = 'POST, OPTIONS'
const UPLOAD_METHODS = 'HEAD, PATCH, DELETE, OPTIONS'
const TUS_HEADERS: readonly OutgoingHttpHeader[] = ['Tus-Resumable', TUS_VERSION]
/** Content whose length is not announced is stored in pieces of this size. */
const PIECE_BYTES = 4 * 1024 * 1024

export class UploadEndpoint {
  readonly #options: UploadEndpointOptions
  #inProgress = 0

  constructor(options: UploadEndpointOptions) {
    this.#options = options
  }

  /** Requests whose content is being stored. */
  get uploadsInProgress(): number {
    return this.#inProgress
  }

  /** @returns the status that was answered. */
  async answer(exchange: Exchange): Promise<number> {
    exchange.errorHeaders = TUS_HEADERS
    const { request } = exchange
    const method = methodOf(exchange)
    // From here on it is this one, for whoever asks what it changes.
    request.method = method
    const id = readUploadId(request.url!)
    if (method === 'OPTIONS') return this.#describe(exchange, id)
    if (request.headers['tus-resumable'] !== TUS_VERSION) {
      throw new HttpProblem(412, `Tus-Resumable has to be ${TUS_VERSION}`, ['Tus-Version', TUS_VERSION])
    }
    if (id === undefined) {
      if (method !== 'POST') throw methodNotAllowed(CREATION_METHODS)
      return this.#create(exchange)
    }
    switch (method) {
      case 'HEAD':
        return this.#head(exchange, id)
      case 'PATCH':
        return this.#patch(exchange, id)
      case 'DELETE':
        await this.#admitted(exchange, id)
        await this.#options.files.uploads.abort(id)
        return send(exchange, 204, [])
      default:
        throw methodNotAllowed(UPLOAD_METHODS)
    }
  }

  /** The upload, if who asks may write there. */
  async #admitted(exchange: Exchange, id: string): Promise<UploadStatus> {
    const upload = await this.#options.files.uploads.status(id)
    await this.#options.admitWrite(exchange, upload)
    return upload
  }

  #describe(exchange: Exchange, id: string | undefined): number {
    return send(exchange, 204, [
      'Allow',
      id === undefined ? CREATION_METHODS : UPLOAD_METHODS,
      'Tus-Version',
      TUS_VERSION,
      'Tus-Extension',
      TUS_EXTENSIONS,
      'Tus-Max-Size',
      String(this.#options.uploadBytesMax),
      'Tus-Checksum-Algorithm',
      CHECKSUM_ALGORITHMS
    ])
  }

  async #create(exchange: Exchange): Promise<number> {
    const { headers, socket } = exchange.request
    if (headers['upload-defer-length'] !== undefined) {
      throw new HttpProblem(400, 'the length has to be known: creation-defer-length is not offered')
    }
    const concat = readConcat(one(headers['upload-concat']))
    const rawMetadata = one(headers['upload-metadata'])
    const metadata = readMetadata(rawMetadata)
    const labels = this.#labelsOf(metadata, concat)
    await this.#options.admitWrite(exchange, labels)
    const sizeBytes = await this.#sizeOf(exchange, concat, labels)
    const hasContent = concat.kind !== 'final' && essence(headers['content-type'] ?? '') === CONTENT_TYPE
    const checksum = hasContent ? readChecksum(one(headers['upload-checksum'])) : undefined
    const contentBytes = hasContent ? this.#contentBytes(exchange, sizeBytes, 0) : 0
    const created = await this.#begin(labels, sizeBytes, {
      // A header has no line feed: what follows one is the other header as it came.
      metadata: `${rawMetadata ?? ''}\n${one(headers['upload-concat']) ?? ''}`,
      clientIp: socket.remoteAddress
    })
    const answered = ['Location', `${UPLOADS_PREFIX}/${created.id}`]
    let upload = created
    if (hasContent) {
      upload = await this.#append(exchange, created, contentBytes, checksum)
      answered.push('Upload-Offset', String(upload.offsetBytes))
    }
    return send(exchange, 201, [...answered, ...(await this.#finish(upload))])
  }

  /** @throws {HttpProblem} 413, 507: there is no room for all of it. */
  async #begin(
    labels: Omit<CreateUploadOptions, 'sizeBytes'>,
    sizeBytes: number,
    more: Pick<CreateUploadOptions, 'metadata' | 'clientIp'>
  ): Promise<UploadStatus> {
    const { quotas, files } = this.#options
    const { application, user, joins = [] } = labels
    await quotas.check({ application, user, sizeBytes }, { except: joins })
    const created = await files.uploads.create({ ...labels, ...more, sizeBytes })
    try {
      await quotas.admit(created)
    } catch (error) {
      // Another one was begun at the same moment, and stays.
      await files.uploads.abort(created.id).catch(() => {})
      throw error
    }
    return created
  }

  async #head(exchange: Exchange, id: string): Promise<number> {
    const upload = await this.#admitted(exchange, id)
    const finished = await this.#finish(upload)
    const [rawMetadata = '', rawConcat = ''] = upload.metadata.split('\n')
    const headers = [
      'Upload-Offset',
      String(upload.offsetBytes),
      'Upload-Length',
      String(upload.sizeBytes),
      'Cache-Control',
      'no-store',
      ...finished
    ]
    if (rawMetadata !== '') headers.push('Upload-Metadata', rawMetadata)
    if (rawConcat !== '') headers.push('Upload-Concat', rawConcat)
    return send(exchange, 200, headers)
  }

  async #patch(exchange: Exchange, id: string): Promise<number> {
    const { headers } = exchange.request
    if (essence(headers['content-type'] ?? '') !== CONTENT_TYPE) {
      throw new HttpProblem(415, `the content has to be ${CONTENT_TYPE}`)
    }
    const offsetBytes = readCount('Upload-Offset', one(headers['upload-offset']))
    const checksum = readChecksum(one(headers['upload-checksum']))
    // Refused before the content is read: it is known already that nothing would become of it.
    const upload = await this.#admitted(exchange, id)
    if (upload.joins.length > 0) {
      throw new HttpProblem(403, 'what is joined of parts takes no content itself', [], 'ACCESS_DENIED')
    }
    if (offsetBytes !== upload.offsetBytes) {
      const detail = `the upload goes on at byte ${upload.offsetBytes}`
      throw new HttpProblem(409, detail, ['Upload-Offset', String(upload.offsetBytes)], 'UPLOAD_OFFSET')
    }
    const contentBytes = this.#contentBytes(exchange, upload.sizeBytes, offsetBytes)
    await this.#options.quotas.check(upload, { before: upload.id })
    const reached = await this.#append(exchange, upload, contentBytes, checksum)
    const finished = await this.#finish(reached)
    return send(exchange, 204, ['Upload-Offset', String(reached.offsetBytes), ...finished])
  }

  /** Of the whole upload. @throws {HttpProblem} 413: larger than may be; and as `#checkPart`. */
  async #sizeOf(exchange: Exchange, concat: Concat, owner: Owner): Promise<number> {
    const { files, uploadBytesMax } = this.#options
    const length = one(exchange.request.headers['upload-length'])
    let sizeBytes = 0
    if (concat.kind === 'final') {
      if (length !== undefined)
        throw new HttpProblem(400, 'the length of what is joined is that of its parts')
      for (const id of concat.ids) {
        const part = await files.uploads.status(id)
        await this.#checkPart(exchange, part, owner)
        sizeBytes += part.sizeBytes
      }
    } else sizeBytes = readCount('Upload-Length', length)
    if (sizeBytes > uploadBytesMax) throw tooLarge(uploadBytesMax)
    return sizeBytes
  }

  /**
   * A part belongs to whose the whole will be, or did not say whose it is; and whoever joins it may write where it is.
   *
   * @throws {HttpProblem} 401, 403
   */
  async #checkPart(exchange: Exchange, part: UploadStatus, { application, user }: Owner): Promise<void> {
    if (part.application === application && part.user === user) return
    await this.#options.admitWrite(exchange, part)
    const said = readMetadata(part.metadata.split('\n', 1)[0])
    if (part.application === application && !said.get('user')) return
    throw new HttpProblem(403, `upload ${part.id} is not a part of ${user}’s`, [], 'ACCESS_DENIED')
  }

  /** Of this request; undefined: its end will tell. @throws {HttpProblem} 413: the upload would be longer than it is to be. */
  #contentBytes({ request }: Exchange, sizeBytes: number, offsetBytes: number): number | undefined {
    const { headers } = request
    if (headers['content-encoding'] !== undefined && headers['content-encoding'] !== 'identity') {
      throw new HttpProblem(415, 'content is stored as it is', ['Accept-Encoding', 'identity'])
    }
    if (headers['transfer-encoding'] !== undefined) {
      if (headers['upload-checksum'] !== undefined)
        throw new HttpProblem(411, 'content with a checksum has to say how long it is')
      return undefined
    }
    const contentBytes = Number(headers['content-length'] ?? 0)
    if (contentBytes > sizeBytes - offsetBytes) {
      throw new HttpProblem(413, `the upload has ${sizeBytes} bytes, and not more`)
    }
    return contentBytes
  }

  async #append(
    exchange: Exchange,
    upload: UploadStatus,
    contentBytes: number | undefined,
    checksum: AppendChecksum | undefined
  ): Promise<UploadStatus> {
    const { files, uploadsMax, uploadBytesMax, silenceMs } = this.#options
    if (this.#inProgress >= uploadsMax) {
      throw new HttpProblem(503, `${uploadsMax} uploads are in progress`, ['Retry-After', '5'], 'OVERLOADED')
    }
    if (contentBytes === 0) return upload
    this.#inProgress++
    const gone = new AbortController()
    const leftBytes = upload.sizeBytes - upload.offsetBytes
    const bounds = { uploadBytesMax: Math.min(uploadBytesMax, leftBytes), silenceMs }
    const content = new UploadContent(exchange, bounds, contentBytes, undefined, gone)
    const chunks = content[Symbol.asyncIterator]()
    const append = (
      at: UploadStatus,
      sizeBytes: number,
      read: () => Promise<Uint8Array | undefined>
    ): Promise<UploadStatus> =>
      files.uploads.append(
        at.id,
        {
          read: async () => {
            const chunk = await read()
            return chunk && Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
          }
        },
        { offsetBytes: at.offsetBytes, sizeBytes, fence: at.fence, checksum, signal: gone.signal }
      )
    const next = async (): Promise<Uint8Array | undefined> => {
      const { value, done } = await chunks.next()
      return done ? undefined : value
    }
    try {
      if (contentBytes !== undefined) return await append(upload, contentBytes, next)
      let reached = upload
      for await (const piece of piecesOf(next)) {
        let given = false
        reached = await append(reached, piece.byteLength, async () => {
          if (given) return undefined
          given = true
          return piece
        })
      }
      return reached
    } catch (error) {
      throw content.failure ?? error
    } finally {
      content.stop()
      this.#inProgress--
    }
  }

  /** Stores what is whole, and says where it is; of others, until when they are kept. */
  async #finish(upload: UploadStatus): Promise<OutgoingHttpHeader[]> {
    const { files } = this.#options
    const isPart = upload.file === ''
    if (isPart || upload.offsetBytes < upload.sizeBytes) {
      return ['Upload-Expires', formatHttpDate(upload.expiresMs)]
    }
    const key = { application: upload.application, user: upload.user, file: upload.file }
    if (upload.generation === undefined) {
      const stored = await files.uploads.commit(upload.id)
      this.#options.quotas.noteStored(upload)
      this.#options.events.tell(uploadedEvent(stored, upload.name))
      await noteInLibrary(files, key)
    }
    return ['Tributary-File', pathOf(key)]
  }

  #labelsOf(metadata: ReadonlyMap<string, string>, concat: Concat): Omit<CreateUploadOptions, 'sizeBytes'> {
    const { owner, clock } = this.#options
    const application = metadata.get('app') || owner.application
    const user = metadata.get('user') || owner.user
    if (concat.kind === 'partial') {
      return { application, user, place: readPlace(metadata.get('parallel')) }
    }
    const name = cleanName(metadata.get('filename') ?? metadata.get('name') ?? '')
    const ending = extensionOf(name)
    const made = makeFileId(clock.nowMs())
    const file = metadata.get('file') || (ending === '' ? made : `${made}.${ending}`)
    if (isDerivedFileId(file) || !isAddressable(file)) {
      throw new HttpProblem(400, `'${file}' cannot be the id of an uploaded file`, [], 'BAD_FIELD')
    }
    const said = metadata.get('filetype') ?? metadata.get('type')
    const mediaType = declaredType(said) ?? guessType(name) ?? guessType(file)
    const labels = { application, user, file, name, mediaType }
    return concat.kind === 'final' ? { ...labels, joins: concat.ids } : labels
  }
}

/** Clients that cannot send every method say which one they mean. */
function methodOf({ request }: Exchange): string {
  return (one(request.headers['x-http-method-override']) ?? request.method!).toUpperCase()
}

function one(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header[0] : header
}

async function* piecesOf(next: () => Promise<Uint8Array | undefined>): AsyncGenerator<Buffer> {
  let gathered: Uint8Array[] = []
  let bytes = 0
  for (let chunk = await next(); chunk; chunk = await next()) {
    gathered.push(chunk)
    bytes += chunk.byteLength
    if (bytes < PIECE_BYTES) continue
    yield Buffer.concat(gathered)
    gathered = []
    bytes = 0
  }
  if (bytes > 0) yield Buffer.concat(gathered)
}

function send(exchange: Exchange, status: number, headers: OutgoingHttpHeader[]): number {
  const all = [...TUS_HEADERS, ...headers, 'X-Content-Type-Options', 'nosniff']
  if (status === 201) all.push('Content-Length', '0')
  sendWhole(exchange, status, all)
  return status
}
