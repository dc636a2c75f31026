/**
 * Reading: facts, condition and content in one round trip. Small content rides on shared connections, many requests
 * in flight; large content has a connection of its own.
 */
import {
  COMMANDS,
  encodeDownload,
  encodeFileKey,
  encodeFrame,
  extension,
  INLINE_BYTES_MAX,
  ProtocolError,
  RejectedError,
  splitFieldBlock,
  type FetchReply,
  type FetchRequest,
  type FileFacts,
  type FileKey
} from '@tributary/protocol'
import type { PeerPool } from '@tributary/transport'
import { inCompany } from './company.ts'
import { ContentStream, hastyTimes } from './content-stream.ts'
import type { Fetched, FetchedContent, FetchOptions } from './contract.ts'
import { checkContentBytes } from './fetch-reply.ts'
import type { KeptContent, KeptContents } from './kept-contents.ts'
import type { Location } from './locations.ts'
import type { MemberCalls } from './member-calls.ts'
import type { Member } from './members.ts'
import { readFields, readReply, readSize } from './peer-reply.ts'
import { abortable, isCode, worthElsewhere } from './retry-rules.ts'
import { Transfer, type TransferTimes } from './transfer.ts'

/** Fields and inline content of a FETCH's reply. */
const REPLY_BYTES_MAX = 2 * INLINE_BYTES_MAX + 1024

export class Fetcher {
  readonly #calls: MemberCalls
  readonly #pool: PeerPool
  readonly #times: TransferTimes
  readonly #kept: KeptContents
  readonly #replyBound: { timeoutMs: number; replyBytesMax: number }

  constructor(calls: MemberCalls, pool: PeerPool, times: TransferTimes, kept: KeptContents) {
    this.#calls = calls
    this.#pool = pool
    this.#times = times
    this.#kept = kept
    this.#replyBound = { timeoutMs: times.callTimeoutMs, replyBytesMax: REPLY_BYTES_MAX }
  }

  async fetch(key: FileKey, options: FetchOptions): Promise<Fetched> {
    const location = this.#calls.locations.remembered(key)
    if (location && !isLarge(location, options)) {
      // The usual case, without the machinery for what can go wrong; whatever fails here is tried again there.
      const member = this.#calls.members.pick(location.members)
      if (member && member.failingUntilMs < performance.now()) {
        member.inFlight++
        try {
          return await this.#inCompany(member, location, options)
        } catch (error) {
          if (isCode(error, 'FILE_NOT_FOUND')) this.#calls.locations.forget(key)
          else if (!worthElsewhere(error)) throw error
          else this.#calls.noteFailure(member, error)
        } finally {
          member.inFlight--
        }
      }
    }
    return this.#calls.ask(key, options.signal, (member, where) => this.#inCompany(member, where, options))
  }

  /** From `member`; where it is silent, from others of the group as well. */
  #inCompany(
    member: Member,
    location: Location,
    options: FetchOptions,
    tried: ReadonlySet<Member> = new Set()
  ): Promise<Fetched> {
    const asked = isLarge(location, options)
      ? this.#fetchLarge(member, location, options)
      : this.#fetchSmall(member, location, options)
    if (location.members.length === 1) return asked
    return inCompany(
      asked,
      () => {
        const all = new Set([...tried, member])
        const other = this.#calls.members.pick(location.members, all)
        this.#calls.members.failed(member)
        if (!other) return undefined
        other.inFlight++
        return this.#inCompany(other, location, options, all).finally(() => other.inFlight--)
      },
      surplus => {
        if (surplus.outcome === 'content') surplus.cancel()
      }
    )
  }

  async #fetchSmall(member: Member, location: Location, options: FetchOptions): Promise<Fetched> {
    let ours = true
    const plain = isPlain(options)
    const kept = plain ? location.kept : undefined
    const reply = this.#pool.call(
      member.address,
      knows => {
        ours = knows
        if (!knows) return sizeFrame(location.key)
        return kept ? askFrame(location.key, kept) : smallFrame(location, options, plain)
      },
      this.#replyBound
    )
    const body = await (options.signal ? abortable(reply, options.signal) : reply)
    if (!ours) return this.#fetchLegacy(member, location, readSize(body), options)
    const { fields, content } = readReply(() => splitFieldBlock(body))
    if (kept?.unchanged?.bytes.equals(fields) && content.byteLength === 0) {
      return wholeContent(kept.unchanged.facts, kept.content)
    }
    const known = location.factsBytes
    if (known && known.equals(fields) && content.byteLength === location.facts!.sizeBytes) {
      // The second time: it may well come a third time.
      this.#kept.keep(location, location.facts!.generation, content)
      return wholeContent(location.facts!, content)
    }
    const head = readFields(extension.fetchReply, fields)
    checkContentBytes(head, content.byteLength)
    const facts = factsOf(head)
    if (kept && head.notModified && head.generation === kept.generation) {
      kept.unchanged = { bytes: Buffer.from(fields), facts }
      return wholeContent(facts, kept.content)
    }
    if (head.notModified || head.unsatisfiable) {
      return { facts, outcome: head.notModified ? 'not-modified' : 'unsatisfiable' }
    }
    const whole = head.offset === undefined && head.lengthBytes === undefined
    location.facts = facts
    if (head.omitted) {
      location.factsBytes = undefined
      return this.#streamed(location, head, undefined, options)
    }
    // Equal bytes of fields mean equal facts, and the whole file behind them.
    location.factsBytes = whole ? Buffer.from(fields) : undefined
    if (whole) return wholeContent(facts, content)
    const offset = head.offset ?? 0
    return {
      facts,
      outcome: 'content',
      offset,
      lengthBytes: content.byteLength,
      whole: false,
      bytes: content,
      cancel: nothing
    }
  }

  async #fetchLarge(member: Member, location: Location, options: FetchOptions): Promise<Fetched> {
    const lease = await this.#pool.lease(member.address, {
      timeoutMs: this.#times.callTimeoutMs,
      signal: options.signal
    })
    if (!lease.ours) {
      lease.release()
      return this.#fetchSmall(member, location, options)
    }
    const request = { ...location.key, ...conditionsOf(options) }
    const transfer = Transfer.fetch(lease, member, request, hastyTimes(this.#times, location, 0))
    const head = await abortable(transfer.head, options.signal).catch((error: Error) => {
      transfer.cut(error)
      throw error
    })
    const facts = factsOf(head)
    location.facts = facts
    location.factsBytes = undefined
    if (head.notModified || head.unsatisfiable) {
      return { facts, outcome: head.notModified ? 'not-modified' : 'unsatisfiable' }
    }
    return this.#streamed(location, head, transfer, options)
  }

  /** A legacy server knows sizes and ranges; the rest is decided here. */
  async #fetchLegacy(
    member: Member,
    location: Location,
    sizeBytes: number,
    options: FetchOptions
  ): Promise<Fetched> {
    if (options.generation) {
      throw new RejectedError('GENERATION_MISMATCH', 'an older storage server does not know generations')
    }
    const facts: FileFacts = { generation: '', sizeBytes, crc32: 0, storedAtMs: 0, mediaType: '', name: '' }
    location.facts = facts
    location.factsBytes = undefined
    const range = resolveRange(options, sizeBytes)
    if (range === 'unsatisfiable') return { facts, outcome: 'unsatisfiable' }
    const offset = range?.offset ?? 0
    const lengthBytes = range?.lengthBytes ?? sizeBytes
    const { key } = location
    if (lengthBytes > 0 && (lengthBytes > INLINE_BYTES_MAX || options.factsOnly)) {
      return this.#streamed(location, { ...facts, ...range }, undefined, options)
    }
    let bytes: Buffer = Buffer.alloc(0)
    if (lengthBytes > 0) {
      const frame = encodeFrame(
        COMMANDS.DOWNLOAD.code,
        encodeDownload({ key, offset, sizeBytes: lengthBytes })
      )
      bytes = await abortable(
        this.#pool.call(member.address, () => frame, this.#replyBound),
        options.signal
      )
      if (bytes.byteLength !== lengthBytes) {
        throw new ProtocolError(
          'BAD_REPLY',
          `${bytes.byteLength} bytes came where ${lengthBytes} were asked for`
        )
      }
    }
    return { facts, outcome: 'content', offset, lengthBytes, whole: !range, bytes, cancel: nothing }
  }

  #streamed(
    location: Location,
    head: FetchReply,
    transfer: Transfer | undefined,
    options: FetchOptions
  ): FetchedContent {
    const facts = factsOf(head)
    const offset = head.offset ?? 0
    const lengthBytes = head.lengthBytes ?? head.sizeBytes
    const content = { key: location.key, facts, offset, lengthBytes }
    const stream = new ContentStream(content, this.#calls, this.#pool, this.#times, transfer)
    return {
      facts,
      outcome: 'content',
      offset,
      lengthBytes,
      whole: head.offset === undefined && head.lengthBytes === undefined,
      stream: (taker, { signal } = {}) => stream.stream(taker, signal ?? options.signal),
      cancel: () => stream.cancel()
    }
  }
}

const nothing = (): void => {}

function wholeContent(facts: FileFacts, bytes: Buffer): FetchedContent {
  return {
    facts,
    outcome: 'content',
    offset: 0,
    lengthBytes: bytes.byteLength,
    whole: true,
    bytes,
    cancel: nothing
  }
}

/** Whether what is asked for is known to exceed what rides on a shared connection. */
function isLarge(
  { facts }: Location,
  { start, end, suffix, unlessGeneration, factsOnly }: FetchOptions
): boolean {
  if (!facts || factsOnly || unlessGeneration !== undefined) return false
  if (suffix !== undefined) return Math.min(suffix, facts.sizeBytes) > INLINE_BYTES_MAX
  const from = start ?? 0
  return Math.min(end ?? Infinity, facts.sizeBytes - 1) - from + 1 > INLINE_BYTES_MAX
}

function askFrame(key: FileKey, kept: KeptContent): Buffer {
  return (kept.askFrame ??= fetchFrame({
    ...key,
    unlessGeneration: kept.generation,
    contentBytesMax: INLINE_BYTES_MAX
  }))
}

function smallFrame(location: Location, options: FetchOptions, plain: boolean): Buffer {
  const contentBytesMax = options.factsOnly ? 0 : INLINE_BYTES_MAX
  if (plain) {
    return (location.wholeFrame ??= fetchFrame({ ...location.key, contentBytesMax }))
  }
  return fetchFrame({ ...location.key, ...conditionsOf(options), contentBytesMax })
}

function fetchFrame(request: FetchRequest): Buffer {
  return encodeFrame(COMMANDS.FETCH.code, extension.fetch.encode(request))
}

function isPlain(options: FetchOptions): boolean {
  return (
    options.start === undefined &&
    options.end === undefined &&
    options.suffix === undefined &&
    options.generation === undefined &&
    options.unlessGeneration === undefined &&
    options.rangeGeneration === undefined &&
    !options.factsOnly
  )
}

function conditionsOf(options: FetchOptions): Partial<FetchRequest> {
  const { start, end, suffix, generation, unlessGeneration, rangeGeneration } = options
  // An end alone is a range from the first byte.
  return {
    start: start ?? (end === undefined ? undefined : 0),
    end,
    suffix,
    generation,
    unlessGeneration,
    rangeGeneration
  }
}

function factsOf({ generation, sizeBytes, crc32, storedAtMs, mediaType, name }: FetchReply): FileFacts {
  return { generation, sizeBytes, crc32, storedAtMs, mediaType, name }
}

export function sizeFrame(key: FileKey): Buffer {
  return encodeFrame(COMMANDS.FILESIZE.code, encodeFileKey(key))
}

/** As a server of ours resolves it; a generation never matches where there is none. */
function resolveRange(
  { start, end, suffix, rangeGeneration }: FetchOptions,
  sizeBytes: number
): { offset: number; lengthBytes: number } | 'unsatisfiable' | undefined {
  if (rangeGeneration !== undefined) return undefined
  if (suffix !== undefined) {
    const lengthBytes = Math.min(suffix, sizeBytes)
    return lengthBytes === 0 ? 'unsatisfiable' : { offset: sizeBytes - lengthBytes, lengthBytes }
  }
  if (start === undefined && end === undefined) return undefined
  const offset = start ?? 0
  if (offset >= sizeBytes) return 'unsatisfiable'
  return { offset, lengthBytes: Math.min(end ?? Infinity, sizeBytes - 1) - offset + 1 }
}
