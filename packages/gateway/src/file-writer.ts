/** PUT, POST and DELETE. Content flows from the sender to storage as fast as storage takes it. */
import type { IncomingMessage } from 'node:http'
import { makeFileId, type Uploaded } from '@tributary/client'
import { RejectedError, type FileKey } from '@tributary/protocol'
import type { Clock } from '@tributary/runtime'
import type { EventTeller } from './access/event-teller.ts'
import type { Quotas, Reservation } from './access/quotas.ts'
import { evaluateConditions } from './conditions.ts'
import { cleanName, fileNameOf, plainFileName } from './content-disposition.ts'
import type { FileEntry } from './contract/index.ts'
import { sendJson, sendWhole, type Exchange } from './exchange.ts'
import type { FileService } from './file-service.ts'
import { pathOf, type Owner } from './file-target.ts'
import { declaredType, essence, extensionOf, guessType } from './media-type.ts'
import { noteInLibrary } from './library-note.ts'
import { HttpProblem } from './problem.ts'
import { uploadedEvent } from './uploaded-event.ts'
import { tooLarge, UploadContent } from './upload-content.ts'

export interface FileWriterOptions {
  files: FileService
  clock: Clock
  uploadBytesMax: number
  uploadsMax: number
  /** A sender that says nothing for so long, while it is listened to, is given up. */
  silenceMs: number
  quotas: Quotas
  events: EventTeller
}

export class FileWriter {
  readonly #options: FileWriterOptions
  #inProgress = 0

  constructor(options: FileWriterOptions) {
    this.#options = options
  }

  get uploadsInProgress(): number {
    return this.#inProgress
  }

  /** @returns the status that was answered. */
  async put(exchange: Exchange, key: FileKey, query: string): Promise<number> {
    if (exchange.request.headers['if-match'] !== undefined) {
      // A stored file is never replaced, so no file can be the one to match; whether it is there decides the answer.
      await this.#refuseIfTaken(key)
      throw new HttpProblem(412, 'there is no file that could match')
    }
    if (exchange.awaitsContinue) await this.#refuseIfTaken(key)
    return this.#upload(exchange, key, this.#nameOf(exchange.request, query))
  }

  /** Where the sender asks first, it is told first; a short upload would otherwise be read before it is announced. */
  async #refuseIfTaken(key: FileKey): Promise<void> {
    try {
      await this.#options.files.stat(key)
    } catch (error) {
      if (isNotFound(error)) return
      throw error
    }
    throw new RejectedError('FILE_EXISTS', `${key.file} already exists`)
  }

  /** Makes an id that ends like the name does, since players judge by that. @returns the status. */
  async post(exchange: Exchange, { application, user }: Owner, query: string): Promise<number> {
    const name = this.#nameOf(exchange.request, query)
    const extension = extensionOf(name)
    const id = makeFileId(this.#options.clock.nowMs())
    const file = extension === '' ? id : `${id}.${extension}`
    return this.#upload(exchange, { application, user, file }, name)
  }

  /** @returns the status that was answered. */
  async delete(exchange: Exchange, key: FileKey): Promise<number> {
    const { headers } = exchange.request
    if (CONDITIONS.some(name => headers[name] !== undefined)) {
      const facts = await this.#options.files.stat(key)
      if (evaluateConditions(headers, facts, false, this.#options.clock.nowMs()) !== 'proceed') {
        throw new HttpProblem(412, 'the file is not the one that the condition names')
      }
    }
    await this.#options.files.delete(key)
    await noteInLibrary(this.#options.files, key)
    sendWhole(exchange, 204, [])
    return 204
  }

  async #upload(exchange: Exchange, key: FileKey, name: string): Promise<number> {
    const { request, response } = exchange
    const { files, uploadBytesMax, uploadsMax, quotas } = this.#options
    const sizeBytes = checkContent(request, uploadBytesMax)
    if (this.#inProgress >= uploadsMax) {
      throw new HttpProblem(503, `${uploadsMax} uploads are in progress`, ['Retry-After', '5'], 'OVERLOADED')
    }
    this.#inProgress++
    let room: Reservation | undefined
    try {
      room = await quotas.reserve(key.application, key.user, sizeBytes)
    } catch (error) {
      this.#inProgress--
      throw error
    }
    let storedBytes: number | undefined
    const gone = new AbortController()
    const onClose = (): void => gone.abort(new HttpProblem(400, 'the sender went away'))
    response.once('close', onClose)
    const content = new UploadContent(exchange, this.#options, sizeBytes, room?.roomBytes, gone)
    try {
      const uploaded = await files.upload(content, {
        key,
        sizeBytes,
        name,
        mediaType: declaredType(request.headers['content-type']) ?? guessType(name) ?? guessType(key.file),
        // Where a proxy stands in between it is the proxy's: it chooses a region, and nothing else.
        clientIp: request.socket.remoteAddress,
        signal: gone.signal
      })
      storedBytes = uploaded.sizeBytes
      this.#options.events.tell(uploadedEvent(uploaded, name))
      response.off('close', onClose)
      await noteInLibrary(files, key)
      this.#answer(exchange, uploaded, name)
      return 201
    } catch (error) {
      throw content.failure ?? error // why it was broken off, rather than that it was
    } finally {
      response.off('close', onClose)
      content.stop()
      room?.settle(storedBytes)
      this.#inProgress--
    }
  }

  #answer(exchange: Exchange, uploaded: Uploaded, name: string): void {
    const entry: FileEntry = {
      application: uploaded.key.application,
      user: uploaded.key.user,
      file: uploaded.key.file,
      url: pathOf(uploaded.key),
      name,
      sizeBytes: uploaded.sizeBytes,
      mediaType: uploaded.mediaType,
      generation: uploaded.generation,
      crc32: uploaded.crc32.toString(16).padStart(8, '0'),
      storedAt: uploaded.storedAtMs > 0 ? new Date(uploaded.storedAtMs).toISOString() : ''
    }
    const headers = ['Location', entry.url]
    if (entry.generation !== '') headers.push('ETag', `"${entry.generation}"`)
    sendJson(exchange, 201, entry, headers)
  }

  /** `?name=`, Content-Disposition or X-File-Name; empty where none is given. */
  #nameOf({ headers }: IncomingMessage, query: string): string {
    const asked = query === '' ? null : new URLSearchParams(query).get('name')
    if (asked !== null) return cleanName(asked)
    const disposition = headers['content-disposition']
    const disposed = disposition === undefined ? undefined : fileNameOf(disposition)
    if (disposed !== undefined) return disposed
    const plain = headers['x-file-name']
    return typeof plain === 'string' ? plainFileName(plain) : ''
  }
}

const CONDITIONS = ['if-match', 'if-none-match', 'if-unmodified-since'] as const

/**
 * Refuses by the headers alone what cannot be stored as it comes.
 *
 * @returns the content's length, or undefined where only its end will tell.
 */
function checkContent({ headers }: IncomingMessage, uploadBytesMax: number): number | undefined {
  if (headers['content-range'] !== undefined) {
    throw new HttpProblem(400, 'a part of a file cannot be uploaded: Content-Range has no meaning here')
  }
  const encoding = headers['content-encoding']
  if (encoding !== undefined && encoding.toLowerCase() !== 'identity') {
    throw new HttpProblem(415, `content is stored as it is; ${encoding} content is not taken`, [
      'Accept-Encoding',
      'identity'
    ])
  }
  if (essence(headers['content-type'] ?? '') === 'multipart/form-data') {
    throw new HttpProblem(415, 'a form is not taken: send the file itself as the content of the request')
  }
  if (headers['transfer-encoding'] !== undefined) return undefined
  const sizeBytes = Number(headers['content-length'] ?? 0)
  if (sizeBytes > uploadBytesMax) throw tooLarge(uploadBytesMax)
  return sizeBytes
}

function isNotFound(error: unknown): boolean {
  return error instanceof RejectedError && error.code === 'FILE_NOT_FOUND'
}
