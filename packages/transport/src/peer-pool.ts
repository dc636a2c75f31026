/**
 * Pooled connections to the servers of one role. Short calls share a connection (those of one moment ride in one
 * write); transfers lease one for themselves. Remembers which addresses are legacy servers.
 */
import { formatAddress, UnavailableError, type Address, type Role } from '@tributary/protocol'
import { cancelled, Connection, type CallOptions } from './connection.ts'
import type { Greeting } from './greeting.ts'
import type { WireTls } from './wire-tls.ts'

export interface PeerPoolOptions {
  role: Role
  greeting: Greeting
  /** Connections to one address, leased and shared ones together. More callers wait. */
  connectionsPerPeerMax?: number
  connectTimeoutMs?: number
  /** Idle connections are closed after this time. */
  idleMs?: number
  /** A server that does not answer a probe loses every connection, and what it was not given yet: it must not be done later. */
  cutsSilent?: boolean
}

export const CONNECTIONS_PER_PEER_MAX = 256
export const CONNECT_TIMEOUT_MS = 2_000
export const IDLE_MS = 60_000
/** How long an address that did not know HELLO is taken for a legacy server. */
export const LEGACY_MEMORY_MS = 10 * 60_000
/** Idle connections and unused peers are looked for this often. */
const SWEEP_INTERVAL_MS_MAX = 5_000
/** Short calls that may ride on one connection at a time. */
const SHARED_CALLS_MAX = 32
/** No call joins a connection whose oldest call waits for so long: it would wait behind whatever hangs there. */
const SHARED_WAIT_MS_MAX = 20

/** A connection that one caller has for itself. Give it back with `release`; a broken one is not reused. */
export interface Lease {
  readonly connection: Connection
  /** A program of ours: extension commands may be used. */
  readonly ours: boolean
  /** It was used before: when the first call on it is lost, the server may have closed it while it was idle. */
  readonly reused: boolean
  release(): void
}

interface Peer {
  readonly address: Address
  /** Every connection that is open, and how many are being opened. */
  readonly open: Set<Connection>
  opening: number
  /** Open and unused, the last used one last. */
  readonly idle: IdleConnection[]
  /** Carries short calls right now. */
  readonly shared: Set<Connection>
  /** Is being opened for short calls; those who wait for it. */
  sharedSoon: Promise<void> | undefined
  sharedSoonCallers: number
  /** Woken in turn when a connection becomes free. */
  readonly waiting: (() => void)[]
  legacyUntilMs: number
  probing: Promise<void> | undefined
}
interface IdleConnection {
  readonly connection: Connection
  readonly sinceMs: number
}
interface Patience {
  timeoutMs: number
  signal?: AbortSignal | undefined
}

export class PeerPool {
  readonly #role: Role
  #greeting: Greeting
  readonly #connectionsMax: number
  readonly #connectTimeoutMs: number
  readonly #idleMs: number
  readonly #cutsSilent: boolean
  readonly #peers = new Map<string, Peer>()
  readonly #sweep: NodeJS.Timeout
  #closed = false

  constructor(options: PeerPoolOptions) {
    this.#role = options.role
    this.#greeting = options.greeting
    this.#connectionsMax = options.connectionsPerPeerMax ?? CONNECTIONS_PER_PEER_MAX
    this.#connectTimeoutMs = options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS
    this.#idleMs = options.idleMs ?? IDLE_MS
    this.#cutsSilent = options.cutsSilent ?? false
    this.#sweep = setInterval(() => this.#forgetIdle(), Math.min(this.#idleMs, SWEEP_INTERVAL_MS_MAX))
    this.#sweep.unref()
  }

  /** A certificate that was renewed, and authorities, for new connections; those that are open stay. */
  useTls(tls: WireTls | undefined): void {
    this.#greeting = { ...this.#greeting, tls }
  }

  /**
   * One short call on a shared connection. `frameFor` is asked for the request once it is known whether the server
   * is one of ours. A call that died with a reused connection before its reply is made once more: use it for
   * requests that may be repeated.
   *
   * @throws {UnavailableError} CONNECTION_LOST, TIMED_OUT, OVERLOADED; or what the server answered.
   * @throws {CancelledError} The signal aborted.
   */
  async call(address: Address, frameFor: (ours: boolean) => Buffer, options: CallOptions): Promise<Buffer> {
    const peer = this.#peerOf(address)
    const ready = this.#readyConnection(peer)
    if (ready) {
      try {
        return await ready.call(frameFor(ready.hello !== undefined), options)
      } catch (error) {
        const lost = error instanceof UnavailableError && error.code === 'CONNECTION_LOST'
        if (!lost || ready.alive || this.#closed) throw error
      }
    }
    const connection = await this.#sharedConnection(peer, options)
    return connection.call(frameFor(connection.hello !== undefined), options)
  }

  /** A connection for a transfer. @throws As `call`. */
  async lease(address: Address, patience: Patience): Promise<Lease> {
    const peer = this.#peerOf(address)
    const idle = this.#takeIdle(peer)
    const connection = idle ?? (await this.#open(peer, patience))
    let released = false
    return {
      connection,
      ours: connection.hello !== undefined,
      reused: idle !== undefined,
      release: () => {
        if (released) return
        released = true
        this.#giveBack(peer, connection)
      }
    }
  }

  /**
   * Whether somebody is there: says HELLO on a connection that is used for nothing else. Those who ask at the same time
   * share the question.
   *
   * @throws {UnavailableError} TIMED_OUT: nobody answered in `timeoutMs`. CONNECTION_LOST: it was refused or cut.
   */
  async probe(address: Address, timeoutMs: number): Promise<void> {
    const peer = this.#peerOf(address)
    peer.probing ??= this.#probe(peer, timeoutMs).finally(() => (peer.probing = undefined))
    await peer.probing
  }

  /** Closes every connection, used ones too. */
  close(): void {
    this.#closed = true
    clearInterval(this.#sweep)
    for (const peer of this.#peers.values()) {
      for (const connection of peer.open) connection.destroy(poolClosed())
      for (const wake of peer.waiting.splice(0)) wake()
    }
  }

  #peerOf(address: Address): Peer {
    if (this.#closed) throw poolClosed()
    const name = formatAddress(address)
    let peer = this.#peers.get(name)
    if (!peer) {
      peer = {
        address,
        open: new Set(),
        opening: 0,
        idle: [],
        shared: new Set(),
        sharedSoon: undefined,
        sharedSoonCallers: 0,
        waiting: [],
        legacyUntilMs: 0,
        probing: undefined
      }
      this.#peers.set(name, peer)
    }
    return peer
  }

  /** One that can take a short call at once, if there is one. */
  #readyConnection(peer: Peer): Connection | undefined {
    for (const connection of peer.shared) {
      if (connection.inFlight < SHARED_CALLS_MAX && connection.waitingMs < SHARED_WAIT_MS_MAX)
        return connection
    }
    const idle = this.#takeIdle(peer)
    if (idle) this.#share(peer, idle)
    return idle
  }

  /** The same, waiting for one: calls of one moment wait for one connection together. */
  async #sharedConnection(peer: Peer, { timeoutMs, signal }: Patience): Promise<Connection> {
    const deadlineMs = performance.now() + timeoutMs
    for (;;) {
      const ready = this.#readyConnection(peer)
      if (ready) return ready
      if (!peer.sharedSoon || peer.sharedSoonCallers >= SHARED_CALLS_MAX) {
        const opening = this.#openShared(peer)
        peer.sharedSoon = opening
        peer.sharedSoonCallers = 0
        const over = (): void => {
          if (peer.sharedSoon === opening) peer.sharedSoon = undefined
        }
        opening.then(over, over)
      }
      peer.sharedSoonCallers++
      await within(peer.sharedSoon, deadlineMs - performance.now(), signal, formatAddress(peer.address))
    }
  }

  /** Belongs to nobody's call: the patience is the pool's. */
  async #openShared(peer: Peer): Promise<void> {
    const connection = await this.#open(peer, { timeoutMs: this.#connectTimeoutMs })
    this.#share(peer, connection)
  }

  #takeIdle(peer: Peer): Connection | undefined {
    const connection = peer.idle.pop()?.connection
    connection?.onIdle(undefined)
    connection?.ref()
    return connection
  }

  #share(peer: Peer, connection: Connection): void {
    peer.shared.add(connection)
    connection.onIdle(() => {
      peer.shared.delete(connection)
      this.#giveBack(peer, connection)
    })
    if (!connection.alive) this.#gone(peer, connection)
  }

  #giveBack(peer: Peer, connection: Connection): void {
    connection.onIdle(undefined)
    // A request that is half sent, or whose reply is still to come, leaves nothing that could be used again.
    if (!connection.settled || this.#closed) connection.destroy()
    if (!connection.alive) {
      this.#gone(peer, connection)
      return
    }
    peer.idle.push({ connection, sinceMs: performance.now() })
    connection.unref()
    connection.onIdle(() => this.#gone(peer, connection)) // told while idle: the server closed it
    peer.waiting.shift()?.()
  }

  #gone(peer: Peer, connection: Connection): void {
    peer.open.delete(connection)
    peer.shared.delete(connection)
    const at = peer.idle.findIndex(idle => idle.connection === connection)
    if (at >= 0) peer.idle.splice(at, 1)
    peer.waiting.shift()?.()
  }

  /** A connection for the caller alone; waits its turn where all are in use. */
  async #open(peer: Peer, { timeoutMs, signal }: Patience): Promise<Connection> {
    const deadlineMs = performance.now() + timeoutMs
    while (peer.open.size + peer.opening >= this.#connectionsMax) {
      await turn(peer.waiting, deadlineMs - performance.now(), signal)
      if (this.#closed) throw poolClosed()
      const idle = this.#takeIdle(peer)
      if (idle) return idle
      if (performance.now() >= deadlineMs) {
        throw new UnavailableError(
          'OVERLOADED',
          `all ${this.#connectionsMax} connections to ${formatAddress(peer.address)} are in use`
        )
      }
    }
    peer.opening++
    try {
      const leftMs = Math.max(1, deadlineMs - performance.now())
      const connection = await this.#connect(peer, {
        timeoutMs: Math.min(leftMs, this.#connectTimeoutMs),
        signal
      })
      if (this.#closed) connection.destroy(poolClosed())
      if (connection.alive) peer.open.add(connection)
      return connection
    } finally {
      peer.opening--
      if (peer.open.size + peer.opening < this.#connectionsMax) peer.waiting.shift()?.()
    }
  }

  async #connect(peer: Peer, patience: Patience): Promise<Connection> {
    const { tls } = this.#greeting
    if (peer.legacyUntilMs <= performance.now()) {
      const connection = await Connection.open(this.#role, peer.address, { ...patience, tls })
      if (await connection.greet(this.#greeting, patience)) return connection
      // HELLO was not understood: a legacy server, which is asked without it.
      peer.legacyUntilMs = performance.now() + LEGACY_MEMORY_MS
    }
    return Connection.open(this.#role, peer.address, { ...patience, tls })
  }

  async #probe(peer: Peer, timeoutMs: number): Promise<void> {
    try {
      await this.#sayHello(peer.address, timeoutMs)
    } catch (error) {
      if (this.#cutsSilent && (error as { code?: unknown }).code === 'TIMED_OUT')
        for (const connection of peer.open) connection.destroy(error as Error)
      throw error
    }
  }

  async #sayHello(address: Address, timeoutMs: number): Promise<void> {
    const untilMs = performance.now() + timeoutMs
    const { tls } = this.#greeting
    const connection = await Connection.open(this.#role, address, { timeoutMs, tls })
    try {
      // What a legacy server says to it is an answer as well.
      await connection.greet(this.#greeting, { timeoutMs: Math.max(1, untilMs - performance.now()) })
    } finally {
      connection.destroy()
    }
  }

  #forgetIdle(): void {
    const nowMs = performance.now()
    for (const [name, peer] of this.#peers) {
      const old = peer.idle.filter(idle => idle.sinceMs < nowMs - this.#idleMs)
      for (const { connection } of old) connection.destroy()
      const unused = peer.open.size === 0 && peer.opening === 0 && peer.waiting.length === 0
      if (unused && peer.legacyUntilMs < nowMs) this.#peers.delete(name)
    }
  }
}

function poolClosed(): UnavailableError {
  return new UnavailableError('SHUTTING_DOWN', 'the client is closed')
}

/** Resolves when woken through `queue`, or after `timeoutMs`. */
function turn(queue: (() => void)[], timeoutMs: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(cancelled(signal))
    const wake = (): void => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', wake)
      const at = queue.indexOf(wake)
      if (at >= 0) queue.splice(at, 1)
      if (!signal?.aborted) return resolve()
      queue.shift()?.() // whoever gives up its turn passes it on
      reject(cancelled(signal))
    }
    const timer = setTimeout(wake, timeoutMs)
    signal?.addEventListener('abort', wake)
    queue.push(wake)
  })
}

/** Waits for something that others wait for too. */
function within(
  shared: Promise<void>,
  timeoutMs: number,
  signal: AbortSignal | undefined,
  name: string
): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(cancelled(signal))
    const settle = (finish: () => void): void => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
      finish()
    }
    const onAbort = (): void => settle(() => reject(cancelled(signal!)))
    const timer = setTimeout(() => {
      settle(() => reject(new UnavailableError('TIMED_OUT', `no connection to ${name} in time`)))
    }, timeoutMs)
    signal?.addEventListener('abort', onAbort)
    shared.then(
      () => settle(resolve),
      error => settle(() => reject(error as Error))
    )
  })
}
