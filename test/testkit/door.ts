/** Ways into a cluster that clients of a test use: the library, HTTP, and one storage server by itself. */
import { buffer } from 'node:stream/consumers'
import type { Client } from '@tributary/client'
import { TributaryError, type Address, type FileKey } from '@tributary/protocol'
import { Lost, Refused, WirePeer } from '../faults/wire-peer.ts'

/** A gateway that was cut off in mid-answer is given up after it. */
const HTTP_WITHIN_MS = 40_000

/** A failure as it reached a client. `broken`: the connection went, or was not to be had. `no answer`: not in time. */
export class Failure extends Error {
  readonly code: string
  constructor(code: string, message: string) {
    super(`${code}: ${message}`)
    this.code = code
  }
}

export type DoorKind = 'library' | 'http' | 'member'

/** One way into the cluster. Failures are {Failure}. */
export interface Door {
  readonly kind: DoorKind
  /** For a report. */
  readonly name: string
  upload(key: FileKey, content: Buffer): Promise<void>
  /** All of it; or `range`: both ends are within. */
  read(key: FileKey, range?: { start: number; end: number }): Promise<Buffer>
  delete(key: FileKey): Promise<void>
}

export function libraryDoor(client: Client): Door {
  const call = async <T>(body: () => Promise<T>): Promise<T> => {
    try {
      return await body()
    } catch (error) {
      if (error instanceof TributaryError) throw new Failure(error.code, error.message)
      throw error
    }
  }
  return {
    kind: 'library',
    name: 'library',
    upload: (key, content) => call(async () => void (await client.upload(content, { key }))),
    read: (key, range) =>
      call(async () => {
        const { stream } = await client.download(key, range)
        return buffer(stream)
      }),
    delete: key => call(() => client.delete(key))
  }
}

export interface HttpPatience {
  readMs: number
  writeMs: number
}

/**
 * @param baseUrl  of a gateway, without a slash at its end
 * @param token    that writing needs, where it does
 * @param patience after which it is not waited for any more
 */
export function httpDoor(
  baseUrl: string,
  token?: string,
  { readMs, writeMs }: HttpPatience = { readMs: HTTP_WITHIN_MS, writeMs: HTTP_WITHIN_MS }
): Door {
  const call = async (
    method: string,
    key: FileKey,
    more: { body?: Uint8Array<ArrayBuffer>; headers?: Record<string, string> } = {}
  ): Promise<Buffer> => {
    const path = [key.application, key.user, key.file].map(encodeURIComponent).join('/')
    const headers = { ...more.headers, ...(token !== undefined && { authorization: `Bearer ${token}` }) }
    let response: Response
    let bytes: Buffer
    try {
      const signal = AbortSignal.timeout(method === 'GET' ? readMs : writeMs)
      response = await fetch(`${baseUrl}/files/${path}`, { ...more, method, signal, headers })
      bytes = Buffer.from(await response.arrayBuffer())
    } catch (error) {
      if ((error as Error).name === 'TimeoutError') throw new Failure('no answer', `${method} ${key.file}`)
      throw new Failure('broken', String((error as Error).cause ?? error))
    }
    if (response.ok) return bytes
    const { code, detail } = JSON.parse(bytes.toString()) as { code: string; detail: string }
    throw new Failure(code, `${response.status} ${detail}`)
  }
  return {
    kind: 'http',
    name: baseUrl,
    upload: async (key, content) => void (await call('PUT', key, { body: new Uint8Array(content) })),
    read: (key, range) =>
      call('GET', key, range && { headers: { range: `bytes=${range.start}-${range.end}` } }),
    delete: async key => void (await call('DELETE', key))
  }
}

/** A storage server that is asked itself, whatever the trackers think of it. A connection for every call. */
export function memberDoor(address: Address, clusterKey?: string): Door {
  const call = async <T>(body: (peer: WirePeer) => Promise<T>): Promise<T> => {
    let peer: WirePeer | undefined
    try {
      peer = await WirePeer.greeted(address, clusterKey)
      return await body(peer)
    } catch (error) {
      if (error instanceof Refused) throw new Failure(error.code ?? 'PEER_ERROR', error.message)
      if (error instanceof Lost || (error as NodeJS.ErrnoException).syscall !== undefined)
        throw new Failure('broken', (error as Error).message)
      throw error
    } finally {
      peer?.close()
    }
  }
  return {
    kind: 'member',
    name: `${address.host}:${address.port}`,
    upload: (key, content) => call(peer => peer.upload(key, content)),
    read: (key, range) =>
      call(peer =>
        range ? peer.download(key, range.start, range.end - range.start + 1) : peer.download(key)
      ),
    delete: key => call(peer => peer.delete(key))
  }
}
