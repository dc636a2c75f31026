/**
 * Commands of resumable uploads, to whichever member can carry them out. An upload stays in the group where it began:
 * that is asked once and remembered.
 */
import {
  APPEND_HEAD_BYTES,
  checkFileKey,
  COMMANDS,
  encodeAppendHead,
  encodeFrame,
  errorOf,
  extension,
  HEADER_BYTES,
  ProtocolError,
  RejectedError,
  UnavailableError,
  writeHeader,
  type AppendChecksum,
  type PartStatus
} from '@tributary/protocol'
import type { Connection, PeerPool } from '@tributary/transport'
import { BodySender, NotSentError } from './body-sender.ts'
import type {
  AppendOptions,
  CallOptions,
  CreateUploadOptions,
  ReadUploadOptions,
  ResumableUploads,
  SourceReader,
  Uploaded,
  UploadStatus
} from './contract.ts'
import { whileAlive } from './liveness.ts'
import type { MemberCalls } from './member-calls.ts'
import type { Member } from './members.ts'
import { readFields } from './peer-reply.ts'
import { abortable, cancelledBy, isCode, leavesDoubt, worthElsewhere, worthLater } from './retry-rules.ts'
import type { TrackerCalls } from './tracker-calls.ts'

/** Uploads whose group is remembered. */
const GROUPS_MAX = 10_000
/** The trackers' table is believed for so long. */
const TABLE_FRESH_MS = 1_000
/** A commit that joins parts which lie apart copies them: as long as its server lives, it is waited for. */
const JOIN_TIMEOUT_MS = 6 * 3_600_000
const ID_BYTES = 16

export interface PartTimes {
  callTimeoutMs: number
  commitTimeoutMs: number
  silenceMs: number
}

type Table = ReadonlyMap<string, readonly Member[]>

export class PartCalls implements ResumableUploads {
  readonly #calls: MemberCalls
  readonly #trackers: TrackerCalls
  readonly #pool: PeerPool
  readonly #times: PartTimes
  readonly #groups = new Map<string, string>()
  #table: Promise<Table> | undefined
  #tableAtMs = 0

  constructor(calls: MemberCalls, trackers: TrackerCalls, pool: PeerPool, times: PartTimes) {
    this.#calls = calls
    this.#trackers = trackers
    this.#pool = pool
    this.#times = times
  }

  async create(options: CreateUploadOptions): Promise<UploadStatus> {
    const { application, user, file, sizeBytes, name, mediaType, metadata, place, joins, signal } = options
    const id = options.id ?? Buffer.from(crypto.getRandomValues(new Uint8Array(ID_BYTES))).toString('hex')
    // A part has no name; its user's group is where it goes.
    const key = checkFileKey({ application, user, file: file ?? id })
    const body = extension.partBegin.encode({
      application,
      user,
      file,
      id,
      sizeBytes,
      metadata,
      mediaType,
      name: name || undefined,
      ...place,
      joins: joins?.join('')
    })
    const frame = encodeFrame(COMMANDS.PART_BEGIN.code, body)
    const attempt = (member: Member): Promise<UploadStatus> => this.#status(member, frame, signal)
    const [first] = joins ?? []
    if (first !== undefined) return this.#ask(first, signal, attempt)
    const { clientIp } = options
    const question = { forUpload: true as const, ...(clientIp !== undefined && { clientIp }) }
    return this.#calls.ask(key, signal, attempt, undefined, question)
  }

  status(id: string, { signal }: CallOptions = {}): Promise<UploadStatus> {
    return this.#ask(id, signal, member => this.#status(member, frameOf('PART_STATUS', id), signal))
  }

  async append(id: string, source: SourceReader, options: AppendOptions): Promise<UploadStatus> {
    const { offsetBytes, sizeBytes, fence = 0, checksum, signal } = options
    let isSpent = false
    const reader: SourceReader = {
      read: reusable => {
        isSpent = true
        return source.read(reusable)
      }
    }
    return this.#ask(
      id,
      signal,
      member => this.#append(member, { id, offsetBytes, fence, checksum }, sizeBytes, reader, options),
      () => !isSpent
    )
  }

  async commit(id: string, { signal }: CallOptions = {}): Promise<Uploaded> {
    const { application, user, file } = await this.status(id, { signal })
    const key = { application, user, file }
    const uploaded = await this.#ask(id, signal, async member => {
      const body = await this.#call(member, frameOf('PART_COMMIT', id), signal, JOIN_TIMEOUT_MS)
      const reply = readFields(extension.storeReply, body)
      const { generation, sizeBytes, crc32, mediaType = '', storedAtMs = 0 } = reply
      if (generation === undefined || sizeBytes === undefined || crc32 === undefined) {
        throw new ProtocolError('BAD_REPLY', 'the reply to a commit does not say what was stored')
      }
      return { key, generation, sizeBytes, crc32, mediaType, storedAtMs }
    })
    this.#calls.locations.forget(key)
    return uploaded
  }

  async abort(id: string, { signal }: CallOptions = {}): Promise<void> {
    let inDoubt = false
    try {
      await this.#ask(id, signal, async member => {
        try {
          await this.#call(member, frameOf('PART_ABORT', id), signal, this.#times.commitTimeoutMs)
        } catch (error) {
          inDoubt ||= leavesDoubt(error)
          throw error
        }
      })
    } catch (error) {
      // An attempt whose reply was lost did it.
      if (!(inDoubt && isCode(error, 'UPLOAD_NOT_FOUND'))) throw error
    } finally {
      this.#groups.delete(id)
    }
  }

  read(
    id: string,
    { start, lengthBytes, signal }: ReadUploadOptions
  ): Promise<{ status: UploadStatus; bytes: Buffer }> {
    const frame = encodeFrame(
      COMMANDS.PART_READ.code,
      extension.partRead.encode({
        id,
        start,
        lengthBytes: Math.min(lengthBytes, extension.PART_READ_BYTES_MAX)
      })
    )
    return this.#ask(id, signal, async member => {
      const body = await this.#call(member, frame, signal, this.#times.callTimeoutMs)
      const fieldsBytes = body.byteLength < 4 ? Infinity : body.readUInt32BE(0)
      if (4 + fieldsBytes > body.byteLength) throw new ProtocolError('BAD_REPLY', 'a reply is cut short')
      const status = readFields(extension.partStatus, body.subarray(4, 4 + fieldsBytes))
      return { status: statusOf(status), bytes: body.subarray(4 + fieldsBytes) }
    })
  }

  async #append(
    { address }: Member,
    head: { id: string; offsetBytes: number; fence: number; checksum: AppendChecksum | undefined },
    sizeBytes: number,
    reader: SourceReader,
    { signal, onProgress }: AppendOptions
  ): Promise<UploadStatus> {
    const lease = await this.#pool.lease(address, { timeoutMs: this.#times.callTimeoutMs, signal })
    const { connection } = lease
    const onAbort = (): void => connection.destroy(cancelledBy(signal!))
    if (signal?.aborted) onAbort()
    signal?.addEventListener('abort', onAbort, { once: true })
    let isWhole = false
    try {
      needsParts(connection)
      const frame = Buffer.allocUnsafe(HEADER_BYTES + APPEND_HEAD_BYTES)
      writeHeader(frame, 0, APPEND_HEAD_BYTES + sizeBytes, COMMANDS.PART_APPEND.code)
      encodeAppendHead(head).copy(frame, HEADER_BYTES)
      let doneBytes = head.offsetBytes
      const sender = new BodySender(connection, this.#times, signal, {
        onProgress: bytes => onProgress?.((doneBytes += bytes)),
        awaiting: reply => whileAlive(reply, this.#pool, address)
      })
      const body = await sender.sendWhole(frame, sizeBytes, reader)
      isWhole = true
      return statusOf(readFields(extension.partStatus, body))
    } catch (error) {
      throw error instanceof NotSentError ? error.failure : error
    } finally {
      signal?.removeEventListener('abort', onAbort)
      if (!isWhole) connection.destroy()
      lease.release()
    }
  }

  async #status(member: Member, frame: Buffer, signal: AbortSignal | undefined): Promise<UploadStatus> {
    const body = await this.#call(member, frame, signal, this.#times.callTimeoutMs)
    const status = statusOf(readFields(extension.partStatus, body))
    if (this.#groups.size >= GROUPS_MAX) this.#groups.delete(this.#groups.keys().next().value!)
    this.#groups.set(status.id, status.group)
    return status
  }

  /** On a connection of its own, so that it is known what its server can do. */
  async #call(
    { address }: Member,
    frame: Buffer,
    signal: AbortSignal | undefined,
    timeoutMs: number
  ): Promise<Buffer> {
    const lease = await this.#pool.lease(address, { timeoutMs: this.#times.callTimeoutMs, signal })
    try {
      needsParts(lease.connection)
      const reply = lease.connection.call(frame, {
        timeoutMs,
        replyBytesMax: extension.PART_READ_BYTES_MAX + REPLY_FIELDS_BYTES_MAX
      })
      return await abortable(whileAlive(reply, this.#pool, address), signal)
    } catch (error) {
      // Its reply may still come: nobody else is to take it for his.
      if (isCode(error, 'CANCELLED') || leavesDoubt(error)) lease.connection.destroy()
      throw error
    } finally {
      lease.release()
    }
  }

  /** @param again Whether another member may be tried after a failure. */
  async #ask<T>(
    id: string,
    signal: AbortSignal | undefined,
    attempt: (member: Member) => Promise<T>,
    again: () => boolean = () => true
  ): Promise<T> {
    if (!ID.test(id)) throw new RejectedError('UPLOAD_NOT_FOUND', `no such upload: ${id}`)
    const patience = this.#calls.newPatience(signal)
    for (;;) {
      let failure: unknown
      try {
        const members = await this.#membersFor(id, signal)
        const tried = new Set<Member>()
        for (let member; (member = this.#calls.members.pick(members, tried)); tried.add(member)) {
          try {
            member.inFlight++
            return await attempt(member)
          } catch (error) {
            failure = error
            if (isCode(error, 'WRONG_GROUP')) {
              this.#groups.delete(id)
              break
            }
            if (!worthElsewhere(error) || !again()) throw error
            this.#calls.noteFailure(member, error)
          } finally {
            member.inFlight--
          }
        }
        failure ??= new UnavailableError('NO_STORAGE_READY', 'no storage server for this upload')
      } catch (error) {
        failure = error
        if (!worthLater(error)) throw error
      }
      this.#table = undefined
      if (this.#calls.closed || !worthLater(failure) || !again() || !(await patience.pause())) throw failure
    }
  }

  /** Those of its group; all, where that is not known: each of them knows the upload's state. */
  async #membersFor(id: string, signal: AbortSignal | undefined): Promise<readonly Member[]> {
    const table = await abortable(this.#members(), signal)
    const all = [...table.values()].flat()
    let group = this.#groups.get(id)
    if (group === undefined && table.size > 1) {
      const tried = new Set<Member>()
      let failure: Error | undefined
      for (let member; (member = this.#calls.members.pick(all, tried)); tried.add(member)) {
        try {
          ;({ group } = await this.#status(member, frameOf('PART_STATUS', id), signal))
          break
        } catch (error) {
          if (!worthElsewhere(error)) throw error
          this.#calls.noteFailure(member, error)
          failure = error
        }
      }
      if (group === undefined) throw failure ?? errorOf('NO_STORAGE_READY', 'no storage server answers')
    }
    return group === undefined ? all : (table.get(group) ?? [])
  }

  #members(): Promise<Table> {
    if (this.#table && performance.now() - this.#tableAtMs < TABLE_FRESH_MS) return this.#table
    this.#tableAtMs = performance.now()
    const table = this.#readTable()
    this.#table = table
    table.catch(() => {
      if (this.#table === table) this.#table = undefined
    })
    return table
  }

  async #readTable(): Promise<Table> {
    const { groups } = await this.#trackers.cluster(undefined)
    const table = new Map<string, Member[]>()
    for (const { name, members } of groups) {
      const ready = members.filter(({ status, serving, legacy }) => status === 'ACTIVE' && serving && !legacy)
      const addresses = ready.flatMap(({ addresses: [first] }) => (first ? [first] : []))
      if (addresses.length > 0)
        table.set(
          name,
          addresses.map(({ host, port }) => this.#calls.members.of({ host, port }))
        )
    }
    return table
  }
}

const ID = /^[0-9a-f]{32}$/
/** A status, with everything that an uploader may have given it. */
const REPLY_FIELDS_BYTES_MAX = 64 * 1024

function frameOf(command: 'PART_STATUS' | 'PART_COMMIT' | 'PART_ABORT', id: string): Buffer {
  return encodeFrame(COMMANDS[command].code, extension.partId.encode({ id }))
}

/** @throws {UnavailableError} an older storage server; another one may be newer. */
function needsParts({ hello, name }: Connection): void {
  if (((hello?.features ?? 0) & extension.FEATURES.PARTS) !== 0) return
  throw new UnavailableError(
    'NO_STORAGE_READY',
    `storage server ${name} is an older program that knows no resumable uploads`
  )
}

function statusOf({ joins, generation, ...status }: PartStatus): UploadStatus {
  return { ...status, generation, joins: joins?.match(/.{32}/g) ?? [] }
}
