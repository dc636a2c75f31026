/** PUT, POST and DELETE. Content flows from the sender to storage as fast as storage takes it. */
import type { IncomingMessage } from 'node:http'
import { makeFileId, type Uploaded } from '@tributary/client'
import { RejectedError, type FileKey } from '@tributary/protocol'
import type { Clock } from '@tributary/runtime'
import type { EventTeller, Happening } from './access/event-teller.ts'
import type { Quotas, Reservation } from './access/quotas.ts'
import { evaluateConditions } from './conditions.ts'
import { cleanName, fileNameOf, plainFileName } from './content-disposition.ts'
import type { FileEntry } from './contract/index.ts'
import { sendContinue, sendJson, sendWhole, type Exchange } from './exchange.ts'
import type { FileService } from './file-service.ts'
import { pathOf, type Owner } from './file-target.ts'
import { declaredType, essence, extensionOf, guessType } from './media-type.ts'
import { noteInLibrary } from './library-note.ts'
import { HttpProblem } from './problem.ts'

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
      this.#options.events.tell(storedEvent(uploaded, name))
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

/** The content of one request. Nothing of it is read before the first piece is asked for. */
class UploadContent implements AsyncIterable<Uint8Array> {
  /** Why reading was broken off here. */
  failure: Error | undefined
  readonly #exchange: Exchange
  readonly #bytesMax: number
  /** What is too long is so by a quota. */
  readonly #quotaCuts: boolean
  readonly #silenceMs: number
  readonly #cancel: AbortController
  #timer: NodeJS.Timeout | undefined

  constructor(
    exchange: Exchange,
    { uploadBytesMax, silenceMs }: FileWriterOptions,
    sizeBytes: number | undefined,
    roomBytes: number | undefined,
    cancel: AbortController
  ) {
    this.#exchange = exchange
    this.#bytesMax = sizeBytes ?? Math.min(uploadBytesMax, roomBytes ?? Infinity)
    this.#quotaCuts = sizeBytes === undefined && roomBytes !== undefined && roomBytes < uploadBytesMax
    this.#silenceMs = silenceMs
    this.#cancel = cancel
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    const { request } = this.#exchange
    sendContinue(this.#exchange)
    let receivedBytes = 0
    const chunks = request.iterator({ destroyOnReturn: false }) as AsyncIterator<Buffer>
    for (;;) {
      this.#listen()
      const { value, done } = await chunks.next()
      this.stop()
      if (done) break
      receivedBytes += value.byteLength
      if (receivedBytes > this.#bytesMax) {
        this.#fail(this.#quotaCuts ? quotaFull(this.#bytesMax) : tooLarge(this.#bytesMax))
        throw this.failure!
      }
      yield value
    }
    if (!request.complete) throw new HttpProblem(400, 'the content broke off')
  }

  stop(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  /** Silence counts only while somebody listens: storage may be the slow one. */
  #listen(): void {
    this.#timer = setTimeout(() => {
      this.#fail(new HttpProblem(408, `nothing came for ${this.#silenceMs / 1000} s`))
    }, this.#silenceMs)
  }

  #fail(failure: Error): void {
    this.failure = failure
    this.#cancel.abort(failure)
  }
}

function tooLarge(bytesMax: number): HttpProblem {
  return new HttpProblem(413, `an upload may have ${bytesMax} bytes`)
}

function quotaFull(bytesLeft: number): HttpProblem {
  return new HttpProblem(507, `of the quota ${bytesLeft} bytes were left`, [], 'QUOTA_EXCEEDED')
}

function storedEvent({ key, generation, sizeBytes, mediaType }: Uploaded, name: string): Happening {
  const { application, user, file } = key
  const facts = { user, file, generation, name, sizeBytes, mediaType }
  return { event: 'stored', application, facts }
}

function isNotFound(error: unknown): boolean {
  return error instanceof RejectedError && error.code === 'FILE_NOT_FOUND'
}
