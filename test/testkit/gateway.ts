/** A whole system to play films from: tracker, ID server, two storage servers that can be killed, and a gateway. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { IncomingMessage } from 'node:http'
import { createLog, loadConfig, systemClock } from '@tributary/runtime'
import { Client } from '@tributary/client'
import { createGateway, gatewayConfig } from '@tributary/gateway'
import { formatAddress } from '@tributary/protocol'
import { APPLICATION, startCluster, type TestCluster } from './cluster.ts'
import { StorageMember } from './storage-member.ts'

const STOP_MS = 5_000

export interface ArrivedRequest {
  method: string
  path: string
  /** First byte of the range that was asked for; undefined: no range. */
  rangeStart: number | undefined
  atMs: number
}

export interface PlayableCluster {
  readonly cluster: TestCluster
  /** Of the gateway, without a slash at the end. */
  readonly url: string
  readonly members: readonly StorageMember[]
  /** A client of its own, for what does not go through HTTP. */
  readonly client: Client
  /** What the gateway logged, one JSON object a line. */
  readonly logged: readonly string[]
  /** One more gateway, with other settings. @returns its URL. */
  openGateway(flags: Readonly<Record<string, unknown>>): Promise<string>
  /** URL of a file of the user `public`. */
  urlOf(file: string): string
  /** What reached the gateway, in order. */
  readonly requests: readonly ArrivedRequest[]
  stop(): Promise<void>
}

/**
 * Starts all of it on free ports, or fails with nothing left running.
 *
 * @param flags  settings of its gateway
 */
export async function startPlayableCluster(
  flags: Readonly<Record<string, unknown>> = {}
): Promise<PlayableCluster> {
  const closers: (() => unknown)[] = []
  const stop = async (): Promise<void> => {
    for (const close of closers.splice(0).reverse()) await close()
  }
  try {
    const cluster = await startCluster({ storages: 0 })
    closers.push(() => cluster.stop())
    const members = ['member1', 'member2'].map(name => new StorageMember(cluster, name))
    for (const member of members) closers.push(() => member.stop())
    await Promise.all(members.map(member => member.start()))
    const client = new Client({ trackers: [cluster.tracker] })
    closers.push(() => client.close())
    const logged: string[] = []
    const log = createLog({
      name: 'gateway',
      level: 'info',
      destination: { write: line => logged.push(line) }
    })
    const openGateway = async (flags: Readonly<Record<string, unknown>>): Promise<string> => {
      const gateway = createGateway({
        config: loadConfig(gatewayConfig, {
          flags: { port: '0', trackers: formatAddress(cluster.tracker), ...flags }
        }),
        log,
        clock: systemClock(),
        version: '0.0.0'
      })
      const { host, port } = await gateway.start()
      closers.push(() => gateway.stop(AbortSignal.timeout(STOP_MS)))
      return `http://${host}:${port}`
    }
    const url = await openGateway(flags)
    const port = Number(new URL(url).port)
    const requests: ArrivedRequest[] = []
    const onRequest = (message: unknown): void => {
      const {
        method = '',
        url: path = '',
        headers,
        socket
      } = (message as { request: IncomingMessage }).request
      if (socket.localPort !== port) return
      const range = /^bytes=(\d+)-/.exec(headers.range ?? '')
      requests.push({
        method,
        path,
        rangeStart: range ? Number(range[1]) : undefined,
        atMs: performance.now()
      })
    }
    subscribe('http.server.request.start', onRequest)
    closers.push(() => unsubscribe('http.server.request.start', onRequest))
    return {
      cluster,
      url,
      members,
      client,
      logged,
      openGateway,
      urlOf: file => `${url}/files/${APPLICATION}/public/${encodeURIComponent(file)}`,
      requests,
      stop
    }
  } catch (error) {
    await stop()
    throw error
  }
}
