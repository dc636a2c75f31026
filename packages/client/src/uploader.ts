/**
 * Storing a file. Content is sent only to a server that said it takes it. What a lost reply leaves open is settled by
 * asking for the upload's nonce: the same nonce is the same upload, on every server.
 */
import {
  COMMANDS,
  encodeFieldBlock,
  encodeFrame,
  encodeHeader,
  encodeUploadHead,
  extension,
  formatFileKey,
  OutcomeUnknownError,
  ProtocolError,
  RejectedError,
  TributaryError,
  UPLOAD_HEAD_BYTES,
  writeHeader,
  HEADER_BYTES,
  type FileKey,
  type StatReply,
  type StoreReply
} from '@tributary/protocol'
import type { Lease, PeerPool } from '@tributary/transport'
import { BodySender, NotSentError } from './body-sender.ts'
import type { Uploaded, UploadOptions, UploadSource } from './contract.ts'
import { sizeFrame } from './fetcher.ts'
import { whileAlive } from './liveness.ts'
import type { MemberCalls } from './member-calls.ts'
import type { Member } from './members.ts'
import { readFields, readSize } from './peer-reply.ts'
import { abortable, cancelledBy, isCode, leavesDoubt, worthElsewhere } from './retry-rules.ts'
import { openSource, type OpenSource } from './upload-source.ts'

/** Times that the members are asked what became of an upload, when they do not know it (yet). */
const SETTLE_ROUNDS = 4
const SETTLE_PAUSE_MS = 250
const NONCE_BYTES = 16
const NONCE_PATTERN = /^[0-9a-f]{32}$/

const SETTLED = ['FILE_EXISTS', 'OUTCOME_UNKNOWN', 'CANCELLED'] as const

export interface UploadTimes {
  callTimeoutMs: number
  commitTimeoutMs: number
  silenceMs: number
}

interface Upload {
  readonly key: FileKey
  readonly nonce: string
  readonly name: string
  readonly mediaType: string | undefined
  readonly source: OpenSource
  readonly signal: AbortSignal | undefined
  readonly onProgress: (doneBytes: number) => void
  /** A reply was lost: it may be stored already. */
  inDoubt: boolean
}

export class Uploader {
  readonly #calls: MemberCalls
  readonly #pool: PeerPool
  readonly #times: UploadTimes

  constructor(calls: MemberCalls, pool: PeerPool, times: UploadTimes) {
    this.#calls = calls
    this.#pool = pool
    this.#times = times
  }

  async upload(input: UploadSource, options: UploadOptions): Promise<Uploaded> {
    const { key, signal, onProgress } = options
    const nonce =
      options.nonce ?? Buffer.from(crypto.getRandomValues(new Uint8Array(NONCE_BYTES))).toString('hex')
    if (!NONCE_PATTERN.test(nonce)) throw new RejectedError('BAD_FIELD', 'a nonce has 32 hexadecimal digits')
    if (signal?.aborted) throw cancelledBy(signal)
    const source = await openSource(input, options.sizeBytes)
    const upload: Upload = {
      key,
      nonce,
      name: options.name ?? source.name,
      mediaType: options.mediaType,
      source,
      signal,
      onProgress: doneBytes => onProgress?.({ doneBytes, totalBytes: source.sizeBytes }),
      inDoubt: false
    }
    try {
      const uploaded = await this.#calls.ask(
        options.beside ?? key,
        signal,
        member => this.#attempt(member, upload),
        failure => this.#settle(upload, failure),
        options.beside
          ? {}
          : { forUpload: true, ...(options.clientIp !== undefined && { clientIp: options.clientIp }) }
      )
      this.#calls.locations.forget(key) // what was known of it was that it is not there
      onProgress?.({ doneBytes: uploaded.sizeBytes, totalBytes: uploaded.sizeBytes })
      return uploaded
    } catch (thrown) {
      const error = thrown instanceof SpentError ? thrown.failure : thrown
      // Stored it may be, but it is not known to be: that is not the same as "failed".
      if (upload.inDoubt && !SETTLED.some(code => isCode(error, code))) {
        throw new OutcomeUnknownError(
          `whether ${formatFileKey(key)} was stored is not known: ${(error as Error).message}`,
          { cause: error }
        )
      }
      throw error
    } finally {
      source.close()
    }
  }

  async #attempt(member: Member, upload: Upload): Promise<Uploaded> {
    const { source } = upload
    if (source.bytes) {
      let ours = true
      const wasOpen = !this.#calls.closed
      const reply = this.#pool.call(
        member.address,
        knows => {
          ours = knows
          // A server that only knows UPLOAD is asked whether the file is there first: it has no nonces.
          return knows ? storeFrame(upload, source.bytes) : sizeFrame(upload.key)
        },
        { timeoutMs: this.#times.commitTimeoutMs }
      )
      try {
        const body = await abortable(whileAlive(reply, this.#pool, member.address), upload.signal)
        if (ours) return uploadedOf(upload.key, readFields(extension.storeReply, body))
        throw new RejectedError('FILE_EXISTS', `${formatFileKey(upload.key)} is there already`)
      } catch (error) {
        if (ours) {
          upload.inDoubt ||= leavesDoubt(error) || isCode(error, 'CANCELLED')
          upload.inDoubt ||= wasOpen && this.#calls.cutOff(error)
          throw error
        }
        if (!isCode(error, 'PEER_ERROR')) throw error
      }
    }
    const { signal } = upload
    const lease = await this.#pool.lease(member.address, { timeoutMs: this.#times.callTimeoutMs, signal })
    const onAbort = (): void => lease.connection.destroy(cancelledBy(signal!))
    if (signal?.aborted) onAbort()
    signal?.addEventListener('abort', onAbort, { once: true })
    let whole = false
    try {
      const uploaded = lease.ours
        ? await this.#store(lease, member, upload)
        : await this.#storeLegacy(lease, member, upload)
      whole = true
      return uploaded
    } catch (error) {
      const failure = error instanceof NotSentError ? error.failure : error
      const isLost = !(error instanceof NotSentError) && leavesDoubt(error)
      // After a reply that makes no sense, nobody knows what was done either.
      const isOpen = isLost || isCode(error, 'BAD_REPLY') || this.#calls.cutOff(error)
      upload.inDoubt ||= isOpen
      // Whether it is worth another server depends on having the bytes still. What was lost is asked for first.
      if (source.spent && !isLost && worthElsewhere(failure)) throw new SpentError(failure)
      throw failure
    } finally {
      signal?.removeEventListener('abort', onAbort)
      // After a failure nothing tells what is still under way: the connection is not used again.
      if (!whole) lease.connection.destroy()
      lease.release()
    }
  }

  async #store(lease: Lease, member: Member, upload: Upload): Promise<Uploaded> {
    const { key, source } = upload
    const { connection } = lease
    let announced: StoreReply
    try {
      const body = await connection.call(storeFrame(upload, undefined), {
        timeoutMs: this.#times.callTimeoutMs
      })
      announced = readFields(extension.storeReply, body)
    } catch (error) {
      throw new NotSentError(error as Error) // no content has left
    }
    if (!announced.send) return uploadedOf(key, announced) // this very upload is there already
    const sender = this.#sender(lease, member, upload)
    const body =
      source.sizeBytes === undefined
        ? await sender.sendPieces(source.reader())
        : await sender.sendWhole(
            encodeHeader(source.sizeBytes, COMMANDS.STORE_BODY.code),
            source.sizeBytes,
            source.reader()
          )
    return uploadedOf(key, readFields(extension.storeReply, body))
  }

  async #storeLegacy(lease: Lease, member: Member, upload: Upload): Promise<Uploaded> {
    const { key, source } = upload
    const { sizeBytes } = source
    if (sizeBytes === undefined) {
      throw new RejectedError(
        'BAD_FIELD',
        `storage server ${lease.connection.name} is an older program: it must be told the size beforehand`
      )
    }
    const head = Buffer.allocUnsafe(HEADER_BYTES + UPLOAD_HEAD_BYTES)
    writeHeader(head, 0, UPLOAD_HEAD_BYTES + sizeBytes, COMMANDS.UPLOAD.code)
    encodeUploadHead({ key, sizeBytes }).copy(head, HEADER_BYTES)
    await this.#sender(lease, member, upload).sendWhole(head, sizeBytes, source.reader())
    return { key, generation: '', sizeBytes, crc32: 0, mediaType: '', storedAtMs: 0 }
  }

  #sender({ connection }: Lease, { address }: Member, upload: Upload): BodySender {
    let doneBytes = 0
    return new BodySender(connection, this.#times, upload.signal, {
      onProgress: bytes => upload.onProgress((doneBytes += bytes)),
      awaiting: reply => whileAlive(reply, this.#pool, address)
    })
  }

  /**
   * Asks the members whether this upload is stored.
   *
   * @returns undefined: it is not, and the content may be sent again.
   * @throws {OutcomeUnknownError} it is not known, or not there and cannot be sent again.
   */
  async #settle(upload: Upload, failure: Error): Promise<Uploaded | undefined> {
    if (!upload.inDoubt) return undefined
    for (let round = 0; round < SETTLE_ROUNDS; round++) {
      if (round > 0) {
        await abortable(
          new Promise<void>(resolve => setTimeout(resolve, SETTLE_PAUSE_MS * round)),
          upload.signal
        )
      }
      const found = await this.#look(upload)
      if (found === 'nobody-answers') continue
      if (found) return found
    }
    // The same nonce again cannot store it twice; a server that stood still does not store it late.
    if (!upload.source.spent) return undefined
    throw new OutcomeUnknownError(
      `whether ${formatFileKey(upload.key)} was stored is not known: ${failure.message}`,
      { cause: failure }
    )
  }

  async #look(upload: Upload): Promise<Uploaded | 'nobody-answers' | undefined> {
    const { key, nonce } = upload
    let members
    try {
      members = (await abortable(this.#calls.locations.ask(key, { fresh: true }), upload.signal)).members
    } catch (error) {
      if (isCode(error, 'CANCELLED')) throw error
      return 'nobody-answers'
    }
    const tried = new Set<Member>()
    let answer: 'nobody-answers' | undefined = 'nobody-answers'
    for (let member; (member = this.#calls.members.pick(members, tried)); tried.add(member)) {
      // All members see one index: who just failed is asked only where nobody else knew.
      if (answer === undefined && this.#calls.members.isFailing(member)) break
      let ours = true
      try {
        const reply = this.#pool.call(
          member.address,
          knows => {
            ours = knows
            return knows ? encodeFrame(COMMANDS.STAT.code, extension.stat.encode(key)) : sizeFrame(key)
          },
          { timeoutMs: this.#times.callTimeoutMs }
        )
        const body = await abortable(whileAlive(reply, this.#pool, member.address), upload.signal)
        if (!ours) return legacyUploadOf(upload, readSize(body))
        const stat: StatReply = readFields(extension.statReply, body)
        if (stat.nonce === nonce) return { ...factsOf(stat), key }
        upload.inDoubt = false
        throw new RejectedError(
          'FILE_EXISTS',
          `${formatFileKey(key)} is there already, and is not this upload`
        )
      } catch (error) {
        if (isCode(error, 'FILE_EXISTS') || isCode(error, 'CANCELLED')) throw error
        if (isCode(error, 'FILE_NOT_FOUND') || (!ours && isCode(error, 'PEER_ERROR'))) answer = undefined
        else if (!(error instanceof TributaryError)) throw error
        else if (leavesDoubt(error)) this.#calls.members.failed(member)
      }
    }
    return answer
  }
}

/** A legacy server has no nonces: the file was not there before, so one of the same size is taken for ours. */
function legacyUploadOf({ key, source }: Upload, sizeBytes: number): Uploaded {
  if (sizeBytes !== source.sizeBytes) {
    throw new RejectedError('FILE_EXISTS', `${formatFileKey(key)} is there already, with ${sizeBytes} bytes`)
  }
  return { key, generation: '', sizeBytes, crc32: 0, mediaType: '', storedAtMs: 0 }
}

function storeFrame({ key, nonce, name, mediaType, source }: Upload, content: Buffer | undefined): Buffer {
  const fields = extension.store.encode({
    ...key,
    nonce,
    sizeBytes: source.sizeBytes,
    name: name || undefined,
    mediaType,
    inline: content ? true : undefined
  })
  const block = encodeFieldBlock(fields)
  return content ? encodeFrame(COMMANDS.STORE.code, block, content) : encodeFrame(COMMANDS.STORE.code, block)
}

/** @throws {ProtocolError} BAD_REPLY: not a final reply. */
function uploadedOf(key: FileKey, reply: StoreReply): Uploaded {
  const { generation, sizeBytes, crc32, mediaType, storedAtMs } = reply
  if (reply.send || generation === undefined || sizeBytes === undefined || crc32 === undefined) {
    throw new ProtocolError('BAD_REPLY', 'the reply to an upload does not say what was stored')
  }
  return { key, generation, sizeBytes, crc32, mediaType: mediaType ?? '', storedAtMs: storedAtMs ?? 0 }
}

function factsOf({ generation, sizeBytes, crc32, mediaType, storedAtMs }: StatReply): Omit<Uploaded, 'key'> {
  return { generation, sizeBytes, crc32, mediaType, storedAtMs }
}

/** Worth another server, but the bytes are gone: `failure` is the end of it. */
class SpentError extends Error {
  readonly failure: Error
  constructor(failure: Error) {
    super(failure.message, { cause: failure })
    this.failure = failure
  }
}
