/**
 * Pooled connections to the servers of one role. Short calls share a connection (those of one moment ride in one
 * write); transfers lease one for themselves. Remembers which addresses are legacy servers.
 */
import { formatAddress, UnavailableError, type Address, type Role } from '@tributary/protocol'
import { Connection, type CallOptions } from './connection.ts'
import type { Greeting } from './greeting.ts'

export interface PeerPoolOptions {
  role: Role
  greeting: Greeting
  /** Connections to one address, leased and shared ones together. More callers wait. */
  connectionsPerPeerMax?: number
  connectTimeoutMs?: number
  /** Idle connections are closed after this time. */
  idleMs?: number
}

export const CONNECTIONS_PER_PEER_MAX = 256
export const CONNECT_TIMEOUT_MS = 2_000
export const IDLE_MS = 60_000
/** How long an address that did not know HELLO is taken for a legacy server. */
export const LEGACY_MEMORY_MS = 10 * 60_000
/** Short calls that may ride on one connection at a time. */
const SHARED_CALLS_MAX = 32
/** No call joins a connection whose oldest call waits for so long: it would wait behind whatever hangs there. */
const SHARED_WAIT_MS_MAX = 20

/** A connection that one caller has for itself. Give it back with `release`; a broken one is not reused. */
export interface Lease {
  readonly connection: Connection
  /** A program of ours: extension commands may be used. */
  readonly ours: boolean
  release(): void
}

interface Peer {
  readonly address: Address
  readonly idle: Connection[]
  /** Carries short calls right now. */
  readonly shared: Set<Connection>
  readonly waiting: (() => void)[]
  open: number
  legacyUntilMs: number
}

export class PeerPool {
  readonly #role: Role
  readonly #greeting: Greeting
  readonly #connectionsMax: number
  readonly #connectTimeoutMs: number
  readonly #idleMs: number
  readonly #peers = new Map<string, Peer>()
  readonly #idleSince = new WeakMap<Connection, number>()
  readonly #sweep: NodeJS.Timeout
  #closed = false

  constructor(options: PeerPoolOptions) {
    this.#role = options.role
    this.#greeting = options.greeting
    this.#connectionsMax = options.connectionsPerPeerMax ?? CONNECTIONS_PER_PEER_MAX
    this.#connectTimeoutMs = options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS
    this.#idleMs = options.idleMs ?? IDLE_MS
    this.#sweep = setInterval(() => this.#closeIdle(), Math.min(this.#idleMs, 5_000))
    this.#sweep.unref()
  }

  /**
   * One short call on a shared connection. `frameFor` is asked for the request once it is known whether the server
   * is one of ours. A call that died with a reused connection before its reply is made once more: use it for
   * requests that may be repeated.
   *
   * @throws {UnavailableError} CONNECTION_LOST, TIMED_OUT; or what the server answered.
   */
  async call(address: Address, frameFor: (ours: boolean) => Buffer, options: CallOptions): Promise<Buffer> {
    const peer = this.#peerOf(address)
    for (const connection of peer.shared) {
      if (
        connection.alive &&
        connection.inFlight < SHARED_CALLS_MAX &&
        connection.waitingMs < SHARED_WAIT_MS_MAX
      ) {
        return this.#callAgainIfLost(peer, connection, frameFor, options)
      }
    }
    const idle = this.#takeIdle(peer)
    if (idle) {
      this.#share(peer, idle)
      return this.#callAgainIfLost(peer, idle, frameFor, options)
    }
    const fresh = await this.#open(peer, options.signal, options.timeoutMs)
    this.#share(peer, fresh)
    return fresh.call(frameFor(fresh.hello !== undefined), options)
  }

  /** A connection for a transfer. */
  async lease(
    address: Address,
    options: { signal?: AbortSignal | undefined; timeoutMs: number }
  ): Promise<Lease> {
    const peer = this.#peerOf(address)
    const connection = this.#takeIdle(peer) ?? (await this.#open(peer, options.signal, options.timeoutMs))
    let released = false
    return {
      connection,
      ours: connection.hello !== undefined,
      release: () => {
        if (released) return
        released = true
        if (connection.inFlight > 0 || connection.unsentBytes > 0) connection.destroy()
        this.#giveBack(peer, connection)
      }
    }
  }

  close(): void {
    this.#closed = true
    clearInterval(this.#sweep)
    const closing = new UnavailableError('SHUTTING_DOWN', 'the client is closed')
    for (const peer of this.#peers.values()) {
      for (const connection of [...peer.idle, ...peer.shared]) connection.destroy(closing)
      for (const wake of peer.waiting.splice(0)) wake()
    }
  }

  #peerOf(address: Address): Peer {
    if (this.#closed) throw new UnavailableError('SHUTTING_DOWN', 'the client is closed')
    const name = formatAddress(address)
    let peer = this.#peers.get(name)
    if (!peer) {
      peer = { address, idle: [], shared: new Set(), waiting: [], open: 0, legacyUntilMs: 0 }
      this.#peers.set(name, peer)
    }
    return peer
  }

  async #callAgainIfLost(
    peer: Peer,
    connection: Connection,
    frameFor: (ours: boolean) => Buffer,
    options: CallOptions
  ): Promise<Buffer> {
    try {
      return await connection.call(frameFor(connection.hello !== undefined), options)
    } catch (error) {
      if (
        !(error instanceof UnavailableError && error.code === 'CONNECTION_LOST') ||
        connection.alive ||
        this.#closed
      ) {
        throw error
      }
      const fresh = await this.#open(peer, options.signal, options.timeoutMs)
      this.#share(peer, fresh)
      return fresh.call(frameFor(fresh.hello !== undefined), options)
    }
  }

  #takeIdle(peer: Peer): Connection | undefined {
    for (;;) {
      const connection = peer.idle.pop()
      if (!connection) return undefined
      if (connection.alive) {
        connection.ref()
        return connection
      }
    }
  }

  #share(peer: Peer, connection: Connection): void {
    peer.shared.add(connection)
    connection.onIdle(() => {
      connection.onIdle(undefined)
      peer.shared.delete(connection)
      this.#giveBack(peer, connection)
    })
  }

  #giveBack(peer: Peer, connection: Connection): void {
    if (!connection.alive || this.#closed) {
      connection.destroy()
      this.#forget(peer)
      return
    }
    peer.idle.push(connection)
    this.#idleSince.set(connection, performance.now())
    connection.unref()
    connection.onIdle(() => {
      // Told while idle: the server closed it.
      const at = peer.idle.indexOf(connection)
      if (at < 0) return
      peer.idle.splice(at, 1)
      this.#forget(peer)
    })
    peer.waiting.shift()?.()
  }

  #forget(peer: Peer): void {
    peer.open--
    peer.waiting.shift()?.()
    if (peer.open === 0 && peer.waiting.length === 0 && peer.legacyUntilMs < performance.now()) {
      this.#peers.delete(formatAddress(peer.address))
    }
  }

  async #open(peer: Peer, signal: AbortSignal | undefined, timeoutMs: number): Promise<Connection> {
    if (peer.open >= this.#connectionsMax) {
      await waitTurn(peer.waiting, timeoutMs, signal)
      const idle = this.#takeIdle(peer)
      if (idle) return idle
      if (peer.open >= this.#connectionsMax) {
        throw new UnavailableError(
          'OVERLOADED',
          `all ${this.#connectionsMax} connections to ${formatAddress(peer.address)} are in use`
        )
      }
    }
    peer.open++
    try {
      const connectOptions = { timeoutMs: Math.min(timeoutMs, this.#connectTimeoutMs), signal }
      if (peer.legacyUntilMs > performance.now())
        return await Connection.open(this.#role, peer.address, connectOptions)
      const connection = await Connection.open(this.#role, peer.address, connectOptions)
      if (await connection.greet(this.#greeting, connectOptions)) return connection
      // HELLO was not understood: ask again without it. If that works it is a legacy server.
      const plain = await Connection.open(this.#role, peer.address, connectOptions)
      peer.legacyUntilMs = performance.now() + LEGACY_MEMORY_MS
      return plain
    } catch (error) {
      this.#forget(peer)
      throw error
    }
  }

  #closeIdle(): void {
    const beforeMs = performance.now() - this.#idleMs
    for (const peer of this.#peers.values()) {
      for (const connection of [...peer.idle]) {
        if ((this.#idleSince.get(connection) ?? 0) < beforeMs) connection.destroy()
      }
    }
  }
}

async function waitTurn(queue: (() => void)[], timeoutMs: number, signal?: AbortSignal): Promise<void> {
  await new Promise<void>(resolve => {
    const wake = (): void => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', wake)
      const at = queue.indexOf(wake)
      if (at >= 0) queue.splice(at, 1)
      resolve()
    }
    const timer = setTimeout(wake, timeoutMs)
    signal?.addEventListener('abort', wake, { once: true })
    queue.push(wake)
  })
  signal?.throwIfAborted()
}
