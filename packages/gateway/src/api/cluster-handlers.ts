/** The cluster as it is now, and as it changes. */
import { formatAddress, type ClusterReply } from '@tributary/protocol'
import type { TrackerProbe } from '@tributary/client'
import type { Clock } from '@tributary/runtime'
import type { Cluster, ClusterGroup } from '../contract/index.ts'
import type { Exchange } from '../exchange.ts'
import type { FileService } from '../file-service.ts'
import { HttpProblem } from '../problem.ts'
import type { ApiHandlers } from './api.ts'
import { clusterFaults } from './cluster-faults.ts'

/** What this gateway itself has done, as counts that only grow. */
export interface GatewayCounts {
  connections: number
  requests: number
  bytesSent: number
  bytesReceived: number
  uploads: number
}

export interface ClusterOptions {
  files: Pick<FileService, 'groups' | 'trackers'>
  clock: Clock
  counts: () => GatewayCounts
  /** @throws who began to watch may not any more. */
  authorizeAgain: (exchange: Exchange) => Promise<void>
}

/** A token that is revoked is dead everywhere within 5 s. */
const AGAIN_INTERVAL_MS = 3_000
/** One look serves everybody who asks within this time. */
const FRESH_MS = 900
const EVENT_INTERVAL_MS = 1_000
/** Nothing changed: something is said all the same, so that a page knows that it is connected. */
const SILENCE_MS_MAX = 10_000
const WATCHERS_MAX = 200
/** A page that takes nothing is let go. */
const BACKLOG_BYTES_MAX = 1024 * 1024

export class ClusterView {
  readonly #options: ClusterOptions
  #looking: Promise<Cluster> | undefined
  #lookedMs = -Infinity
  #before: { atMs: number; counts: GatewayCounts } | undefined
  #watchers = 0

  constructor(options: ClusterOptions) {
    this.#options = options
  }

  now(): Promise<Cluster> {
    const nowMs = this.#options.clock.monotonicMs()
    if (this.#looking && nowMs - this.#lookedMs < FRESH_MS) return this.#looking
    this.#lookedMs = nowMs
    const looking = (this.#looking = this.#look())
    // A failure is told to those who wait for it, and not remembered.
    looking.catch(() => {
      if (this.#looking === looking) this.#looking = undefined
    })
    return looking
  }

  handlers(): Pick<ApiHandlers, 'GET /api/v1/cluster' | 'GET /api/v1/cluster/events'> {
    return {
      'GET /api/v1/cluster': () => this.now(),
      'GET /api/v1/cluster/events': ({ exchange }) => {
        const { request, response } = exchange
        if (this.#watchers >= WATCHERS_MAX) {
          throw new HttpProblem(
            503,
            `${WATCHERS_MAX} pages watch already`,
            ['Retry-After', '30'],
            'OVERLOADED'
          )
        }
        response.writeHead(200, {
          'Content-Type': 'text/event-stream; charset=utf-8',
          'Cache-Control': 'no-store',
          'X-Content-Type-Options': 'nosniff',
          'X-Accel-Buffering': 'no'
        })
        if (request.method === 'HEAD') {
          response.end()
          return 200
        }
        return this.#watch(exchange)
      }
    }
  }

  #watch(exchange: Exchange): Promise<number> {
    const { response } = exchange
    this.#watchers++
    let saidMs = -Infinity
    const { clock, authorizeAgain } = this.#options
    const tell = async (): Promise<void> => {
      if (response.destroyed || response.writableLength > BACKLOG_BYTES_MAX) {
        response.destroy()
        return
      }
      try {
        const cluster = await this.now()
        response.write(`event: cluster\ndata: ${JSON.stringify(cluster)}\n\n`)
        saidMs = clock.monotonicMs()
      } catch (error) {
        const text = error instanceof Error ? error.message : 'no tracker answers'
        response.write(`event: trouble\ndata: ${JSON.stringify({ text })}\n\n`)
        saidMs = clock.monotonicMs()
      }
      if (clock.monotonicMs() - saidMs > SILENCE_MS_MAX) response.write(':\n\n')
    }
    const timer = setInterval(() => void tell(), EVENT_INTERVAL_MS)
    const again = setInterval(() => {
      authorizeAgain(exchange).catch(() => response.destroy())
    }, AGAIN_INTERVAL_MS)
    void tell()
    return new Promise(resolve => {
      response.once('close', () => {
        clearInterval(timer)
        clearInterval(again)
        this.#watchers--
        resolve(200)
      })
    })
  }

  async #look(): Promise<Cluster> {
    const { files, clock, counts } = this.#options
    const [trackers, reply] = await Promise.all([files.trackers(), files.groups()])
    const nowMs = clock.monotonicMs()
    const total = counts()
    const before = this.#before
    const perS = (what: 'requests' | 'bytesSent' | 'bytesReceived'): number =>
      before && nowMs > before.atMs
        ? ((total[what] - before.counts[what]) * 1_000) / (nowMs - before.atMs)
        : 0
    const gateway = {
      connections: total.connections,
      requestsPerS: perS('requests'),
      bytesSentPerS: perS('bytesSent'),
      bytesReceivedPerS: perS('bytesReceived'),
      uploads: total.uploads
    }
    this.#before = { atMs: nowMs, counts: total }
    const cluster: Omit<Cluster, 'faults'> = {
      cluster: reply.cluster,
      at: new Date(clock.nowMs()).toISOString(),
      trackers: trackers.map(trackerOf),
      groups: reply.groups.map(groupOf),
      gateway
    }
    return { ...cluster, faults: clusterFaults(cluster) }
  }
}

function trackerOf({
  address,
  answers,
  roundTripMs,
  version,
  reason
}: TrackerProbe): Cluster['trackers'][number] {
  return {
    address,
    answers,
    roundTripMs: answers ? roundTripMs : null,
    version: version ?? null,
    reason: reason ?? null
  }
}

function groupOf({ name, region, draining, members }: ClusterReply['groups'][number]): ClusterGroup {
  return {
    name,
    region,
    draining: draining ?? false,
    members: members.map(member => ({
      hostName: member.hostName,
      addresses: member.addresses.map(({ host, port }) => formatAddress({ host, port })),
      version: member.version,
      status: statusOf(member.status),
      serving: member.serving,
      taking: member.taking,
      reason: member.reason ?? null,
      startedAt: timeOf(member.startedAtS),
      beatAt: timeOf(member.beatAtS),
      freeBytes: member.freeBytes,
      totalBytes: member.totalBytes,
      connections: member.connections,
      requestsPerS: member.requestsPerS,
      bytesPerS: member.bytesPerS,
      legacy: member.legacy,
      copies: member.copies ?? null,
      copiesWanted: member.copiesWanted ?? null
    }))
  }
}

function statusOf(status: string): 'OFFLINE' | 'ONLINE' | 'ACTIVE' {
  return status === 'ACTIVE' || status === 'ONLINE' ? status : 'OFFLINE'
}

function timeOf(seconds: number): string | null {
  return seconds > 0 ? new Date(seconds * 1_000).toISOString() : null
}
