/** Calls to the trackers: in turn, starting at the last good one, with a memory for those that do not answer. */
import {
  COMMANDS,
  decodeAddressesReply,
  encodeFileKey,
  encodeFrame,
  extension,
  formatAddress,
  OutcomeUnknownError,
  parseAddress,
  ProtocolError,
  UnavailableError,
  type Address,
  type ClusterReply,
  type FileKey,
  type ListedFile
} from '@tributary/protocol'
import {
  INDEX_CALLS,
  type CallArguments,
  type CallName,
  type CallResult,
  type IndexCall
} from '@tributary/calls'
import type { PeerPool } from '@tributary/transport'
import { inCompany } from './company.ts'
import type { ClientEvent } from './contract.ts'
import { readReply } from './peer-reply.ts'
import { abortable, leavesDoubt, worthElsewhere } from './retry-rules.ts'

export const TRACKER_PORT = 21_000
/** A tracker that did not answer is asked last for so long. */
const SILENT_MS = 10_000
/** A tracker that lives answers in milliseconds. */
const PROBE_TIMEOUT_MS = 2_000
/** Listings of large clusters and pages of long names. */
const LISTING_BYTES_MAX = 32 * 1024 * 1024

/** One tracker, as it answers now. */
export interface TrackerProbe {
  address: string
  answers: boolean
  /** Until the answer, or until it was given up. */
  roundTripMs: number
  version?: string | undefined
  reason?: string
}

interface Tracker {
  readonly address: Address
  silentUntilMs: number
}

export interface Located {
  group: string
  /** undefined: a legacy tracker, which does not say. */
  exists: boolean | undefined
  addresses: Address[]
}

/** Legacy trackers are only told the key. */
export interface LocateQuestion {
  /** A user without a group is tied to one; otherwise only legacy trackers do that. */
  forUpload?: true
  /** What the tracker said before proved to be wrong: it looks again. */
  fresh?: true
  /** Of the client that is spoken for. */
  clientIp?: string
}

export class TrackerCalls {
  readonly #trackers: Tracker[]
  readonly #pool: PeerPool
  readonly #timeoutMs: number
  readonly #onEvent: (event: ClientEvent) => void
  #good = 0

  constructor(
    trackers: readonly (string | Address)[],
    pool: PeerPool,
    timeoutMs: number,
    onEvent: (event: ClientEvent) => void
  ) {
    this.#trackers = trackers.map(tracker => ({
      address: typeof tracker === 'string' ? parseAddress(tracker, TRACKER_PORT) : tracker,
      silentUntilMs: 0
    }))
    this.#pool = pool
    this.#timeoutMs = timeoutMs
    this.#onEvent = onEvent
  }

  locate(key: FileKey, question: LocateQuestion, signal: AbortSignal | undefined): Promise<Located> {
    const request = { ...key, ...question }
    return this.#ask(
      ours =>
        ours
          ? encodeFrame(COMMANDS.LOCATE.code, extension.locate.encode(request))
          : encodeFrame(COMMANDS.SADDRS.code, encodeFileKey(key)),
      (body, ours) => {
        if (ours) return extension.locateReply.decode(body)
        return { ...decodeAddressesReply(body), exists: undefined }
      },
      signal
    )
  }

  list(
    request: { application: string; user: string; after: string; limit: number },
    signal: AbortSignal | undefined
  ): Promise<{ files: ListedFile[]; more: boolean }> {
    return this.#ask(
      // Where LIST is not known, a harmless question shows whether the tracker lives.
      ours =>
        ours
          ? encodeFrame(COMMANDS.LIST.code, extension.list.encode(request))
          : encodeFrame(COMMANDS.GROUPS.code),
      (body, ours) => extension.listReply.decode(needsOurs(body, ours, 'list files')),
      signal
    )
  }

  cluster(signal: AbortSignal | undefined): Promise<ClusterReply> {
    return this.#ask(
      ours => encodeFrame(ours ? COMMANDS.CLUSTER.code : COMMANDS.GROUPS.code),
      (body, ours) =>
        extension.clusterReply.decode(needsOurs(body, ours, 'describe the cluster to programs')),
      signal
    )
  }

  /** @throws {OutcomeUnknownError} the reply was lost, of a call that must not be repeated unseen. */
  index<N extends CallName>(
    name: N,
    args: CallArguments<N>,
    signal: AbortSignal | undefined
  ): Promise<CallResult<N>> {
    const body = extension.call.encode({ method: name, arguments: JSON.stringify(args) })
    return this.#ask(
      ours => (ours ? encodeFrame(COMMANDS.CALL.code, body) : encodeFrame(COMMANDS.GROUPS.code)),
      (reply, ours) =>
        JSON.parse(
          extension.callReply.decode(needsOurs(reply, ours, `answer ${name}`)).result
        ) as CallResult<N>,
      signal,
      INDEX_CALLS[name].resend
    )
  }

  /** Each tracker by itself: does it answer, how fast, and what is it. */
  probe(signal: AbortSignal | undefined): Promise<TrackerProbe[]> {
    return Promise.all(this.#trackers.map(({ address }) => this.#probeOne(address, signal)))
  }

  async #probeOne(address: Address, signal: AbortSignal | undefined): Promise<TrackerProbe> {
    const name = formatAddress(address)
    const startMs = performance.now()
    try {
      const lease = await this.#pool.lease(address, { timeoutMs: PROBE_TIMEOUT_MS, signal })
      try {
        const frame = encodeFrame(lease.ours ? COMMANDS.CLUSTER.code : COMMANDS.GROUPS.code)
        const sentMs = performance.now()
        const reply = lease.connection.call(frame, {
          timeoutMs: PROBE_TIMEOUT_MS,
          replyBytesMax: LISTING_BYTES_MAX
        })
        await abortable(reply, signal)
        const roundTripMs = performance.now() - sentMs
        return { address: name, answers: true, roundTripMs, version: lease.connection.hello?.version }
      } finally {
        lease.release()
      }
    } catch (error) {
      const roundTripMs = performance.now() - startMs
      return { address: name, answers: false, roundTripMs, reason: (error as Error).message }
    }
  }

  groupsText(signal: AbortSignal | undefined): Promise<string> {
    return this.#ask(
      () => encodeFrame(COMMANDS.GROUPS.code),
      body => {
        const end = body.indexOf(0)
        return body.toString('utf8', 0, end < 0 ? body.byteLength : end)
      },
      signal
    )
  }

  async #ask<T>(
    frameFor: (ours: boolean) => Buffer,
    decode: (body: Buffer, ours: boolean) => T,
    signal: AbortSignal | undefined,
    resend: IndexCall['resend'] = 'safe'
  ): Promise<T> {
    const waiting = this.#inOrder()
    const askNext = (): Promise<T> | undefined => {
      const tracker = waiting.shift()
      if (!tracker) return undefined
      const asked = this.#askOne(tracker, frameFor, decode, signal)
      if (resend === 'ask-first') return asked
      return inCompany(asked, () => {
        if (waiting.length > 0) tracker.silentUntilMs = performance.now() + SILENT_MS
        return askNext()
      })
    }
    let failure: Error | undefined
    for (let asked = askNext(); asked; asked = askNext()) {
      try {
        return await asked
      } catch (error) {
        if (!isItsOwn(error)) throw error
        if (resend === 'ask-first' && leavesDoubt(error)) {
          throw new OutcomeUnknownError(`whether it was done is not known: ${error.message}`, {
            cause: error
          })
        }
        // A tracker that answered, if only to refuse, tells more than one that could not be reached.
        if (!failure || leavesDoubt(failure)) failure = error as Error
      }
    }
    throw failure ?? new UnavailableError('CONNECTION_LOST', 'no tracker is known')
  }

  async #askOne<T>(
    tracker: Tracker,
    frameFor: (ours: boolean) => Buffer,
    decode: (body: Buffer, ours: boolean) => T,
    signal: AbortSignal | undefined
  ): Promise<T> {
    let ours = false
    try {
      const reply = this.#pool.call(tracker.address, knows => frameFor((ours = knows)), {
        timeoutMs: this.#timeoutMs,
        replyBytesMax: LISTING_BYTES_MAX
      })
      const body = await abortable(reply, signal)
      const answer = readReply(() => decode(body, ours))
      tracker.silentUntilMs = 0
      this.#good = this.#trackers.indexOf(tracker)
      return answer
    } catch (error) {
      if (leavesDoubt(error)) tracker.silentUntilMs = performance.now() + SILENT_MS
      if (this.#trackers.length > 1 && isItsOwn(error)) {
        const text = `tracker ${formatAddress(tracker.address)}: ${error.message}`
        this.#onEvent({ level: 'warn', text })
      }
      throw error
    }
  }

  #inOrder(): Tracker[] {
    const nowMs = performance.now()
    const turned = [...this.#trackers.slice(this.#good), ...this.#trackers.slice(0, this.#good)]
    const silent = turned.filter(tracker => tracker.silentUntilMs > nowMs)
    return silent.length === 0 ? turned : [...turned.filter(tracker => !silent.includes(tracker)), ...silent]
  }
}

/** The tracker's own failure, which another one need not share. */
function isItsOwn(error: unknown): error is Error {
  return leavesDoubt(error) || worthElsewhere(error) || error instanceof ProtocolError
}

function needsOurs(body: Buffer, ours: boolean, what: string): Buffer {
  if (!ours)
    throw new ProtocolError('VERSION_UNSUPPORTED', `this tracker is an older program that cannot ${what}`)
  return body
}
