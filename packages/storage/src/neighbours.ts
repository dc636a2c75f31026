/** Other groups of the cluster as a storage server reaches them: found through the trackers, asked over the wire. */
import type { FileRow } from '@tributary/database'
import {
  COMMANDS,
  decodeAddressesReply,
  encodeFileKey,
  encodeFrame,
  extension,
  TributaryError,
  UnavailableError,
  type Address,
  type FileKey
} from '@tributary/protocol'
import { PeerPool, type Greeting, type Lease } from '@tributary/transport'

const CALL_TIMEOUT_MS = 2_000
const CONNECTIONS_PER_TRACKER_MAX = 4
/** Relayed transfers and fetched files; each has its own bound below this. */
const CONNECTIONS_PER_MEMBER_MAX = 128

export interface FilePlace {
  group: string
  addresses: readonly Address[]
}

export class Neighbours {
  readonly #trackers: readonly Address[]
  readonly #trackerPool: PeerPool
  readonly #memberPool: PeerPool
  #preferred = 0

  constructor(trackers: readonly Address[], greeting: Greeting) {
    this.#trackers = trackers
    this.#trackerPool = new PeerPool({
      role: 'tracker',
      greeting,
      connectionsPerPeerMax: CONNECTIONS_PER_TRACKER_MAX
    })
    this.#memberPool = new PeerPool({
      role: 'storage',
      greeting,
      connectionsPerPeerMax: CONNECTIONS_PER_MEMBER_MAX
    })
  }

  /** For new connections. */
  useTls(tls: Greeting['tls']): void {
    this.#trackerPool.useTls(tls)
    this.#memberPool.useTls(tls)
  }

  /**
   * Which group has a file now, and members of it; one tracker after the other is asked.
   *
   * @throws {TributaryError} of the last tracker.
   */
  async locate(key: FileKey, signal?: AbortSignal): Promise<FilePlace> {
    let failure: unknown = new UnavailableError('NO_STORAGE_READY', 'no tracker is known')
    for (let tried = 0; tried < this.#trackers.length; tried++) {
      const at = (this.#preferred + tried) % this.#trackers.length
      let ours = false
      try {
        const body = await this.#trackerPool.call(
          this.#trackers[at]!,
          knows => locateFrame(key, (ours = knows)),
          { timeoutMs: CALL_TIMEOUT_MS, signal }
        )
        this.#preferred = at
        return ours ? extension.locateReply.decode(body) : decodeAddressesReply(body)
      } catch (error) {
        failure = error
      }
    }
    throw failure
  }

  /** A connection to a member for one transfer. @throws {TributaryError} */
  lease(address: Address, signal?: AbortSignal): Promise<Lease> {
    return this.#memberPool.lease(address, { timeoutMs: CALL_TIMEOUT_MS, signal })
  }

  /** Whether a member of the row's group has opened the file of this very row, be it in the trash. */
  async hasFile(row: FileRow): Promise<boolean> {
    const { application, user, file } = row
    const frame = encodeFrame(
      COMMANDS.STAT.code,
      extension.stat.encode({ application, user, file, trashed: true })
    )
    try {
      const { addresses } = await this.locate(row)
      for (const address of addresses) {
        try {
          const body = await this.#memberPool.call(address, () => frame, { timeoutMs: CALL_TIMEOUT_MS })
          const { generation, group } = extension.statReply.decode(body)
          if (generation === row.generation && group === row.group) return true
        } catch (error) {
          if (!(error instanceof TributaryError)) throw error
        }
      }
    } catch (error) {
      if (!(error instanceof TributaryError)) throw error
    }
    return false
  }

  close(): void {
    this.#trackerPool.close()
    this.#memberPool.close()
  }
}

function locateFrame({ application, user, file }: FileKey, ours: boolean): Buffer {
  const key = { application, user, file }
  return ours
    ? encodeFrame(COMMANDS.LOCATE.code, extension.locate.encode({ ...key, fresh: true }))
    : encodeFrame(COMMANDS.SADDRS.code, encodeFileKey(key))
}
