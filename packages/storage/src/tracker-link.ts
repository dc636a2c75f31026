/**
 * A storage server's tie to one tracker: registers, sends heartbeats, says goodbye. With a tracker of ours one
 * command carries all of it; a legacy tracker gets JOIN and BEAT.
 */
import {
  COMMANDS,
  encodeBeat,
  encodeFrame,
  encodeJoin,
  extension,
  formatAddress,
  TributaryError,
  type Address,
  type Presence
} from '@tributary/protocol'
import type { Log } from '@tributary/runtime'
import { Connection, type Greeting } from '@tributary/transport'

/** A tracker that came back is found again within this time. */
const RETRY_MS = 500
const CONNECT_TIMEOUT_MS = 1_500
const CALL_TIMEOUT_MS = 3_000
const LEAVE_TIMEOUT_MS = 500
/** How often HELLO is tried again on a tracker that did not know it. */
const LEGACY_MEMORY_MS = 600_000

export interface TrackerLinkOptions {
  tracker: Address
  greeting: Greeting
  heartbeatMs: number
  /** What is told; asked for at every heartbeat. */
  presence: () => Presence
  log: Log
}

export class TrackerLink {
  readonly #options: TrackerLinkOptions
  #greeting: Greeting
  #connection: Connection | undefined
  readonly #leaving = new AbortController()
  #stopping = false
  /** Something changed while nobody waited to be told. */
  #changed = false
  #wake: () => void = () => {}
  #running: Promise<void> | undefined
  #joined = false
  #legacyUntilMs = 0
  #lastBeatMs = -Infinity
  #lastComplaint = ''

  constructor(options: TrackerLinkOptions) {
    this.#options = options
    this.#greeting = options.greeting
  }

  /** For the next connection. */
  useTls(tls: Greeting['tls']): void {
    this.#greeting = { ...this.#greeting, tls }
  }

  get name(): string {
    return formatAddress(this.#options.tracker)
  }

  /** Milliseconds since the tracker last took a heartbeat; Infinity before the first. */
  get heartbeatAgeMs(): number {
    return performance.now() - this.#lastBeatMs
  }

  start(): void {
    this.#running ??= this.#run()
  }

  /** Something changed that clients should not have to wait for. */
  tellNow(): void {
    this.#changed = true
    this.#wake()
  }

  /** Says goodbye, so that nobody is sent here any more, and ends. */
  async stop(): Promise<void> {
    this.#stopping = true
    this.#wake()
    // A tracker that hangs must not hold up the stop: it is not worth more than the goodbye.
    const patience = setTimeout(() => this.#leaving.abort(), LEAVE_TIMEOUT_MS)
    await this.#running
    clearTimeout(patience)
    const connection = this.#connection
    if (connection?.alive && connection.hello) {
      const { group, hostName, port } = this.#options.presence()
      const frame = encodeFrame(COMMANDS.LEAVE.code, extension.leave.encode({ group, hostName, port }))
      await connection.call(frame, { timeoutMs: LEAVE_TIMEOUT_MS }).catch(() => {})
    }
    connection?.destroy()
  }

  async #run(): Promise<void> {
    while (!this.#stopping) {
      try {
        const connection = await this.#connected()
        this.#changed = false
        await this.#beat(connection)
        this.#lastBeatMs = performance.now()
        if (this.#lastComplaint !== '') this.#options.log.info(`tracker ${this.name} takes heartbeats again`)
        this.#lastComplaint = ''
        await this.#pause(this.#options.heartbeatMs)
      } catch (error) {
        this.#joined = false
        this.#connection?.destroy()
        this.#connection = undefined
        if (!this.#stopping) this.#complain(error as Error)
        this.#changed = false
        await this.#pause(RETRY_MS)
      }
    }
  }

  async #connected(): Promise<Connection> {
    if (this.#connection?.alive) return this.#connection
    this.#joined = false
    const { tracker } = this.#options
    const greeting = this.#greeting
    const { signal } = this.#leaving
    const options = { timeoutMs: CONNECT_TIMEOUT_MS, signal, tls: greeting.tls }
    let connection = await Connection.open('tracker', tracker, options)
    if (
      performance.now() > this.#legacyUntilMs &&
      !(await connection.greet(greeting, { timeoutMs: CALL_TIMEOUT_MS, signal }))
    ) {
      this.#legacyUntilMs = performance.now() + LEGACY_MEMORY_MS
      connection = await Connection.open('tracker', tracker, options)
    }
    // A tracker that goes away is noticed at once, not at the next heartbeat.
    connection.onIdle(() => {
      if (!connection.alive) this.#wake()
    })
    this.#connection = connection
    return connection
  }

  async #beat(connection: Connection): Promise<void> {
    const presence = this.#options.presence()
    const options = { timeoutMs: CALL_TIMEOUT_MS, signal: this.#leaving.signal }
    if (connection.hello) {
      await connection.call(encodeFrame(COMMANDS.PRESENCE.code, extension.presence.encode(presence)), options)
      return
    }
    // A legacy tracker knows no "not now": what cannot serve must not be handed out, so it stays silent.
    if (!presence.serving) return
    if (!this.#joined) {
      const { version, group, hostName, port, startedAtS, joinedAtS } = presence
      const join = encodeJoin({ version: version.slice(0, 6), group, hostName, port, startedAtS, joinedAtS })
      await connection.call(encodeFrame(COMMANDS.JOIN.code, join), options)
      this.#joined = true
    }
    await connection.call(encodeFrame(COMMANDS.BEAT.code, encodeBeat(presence)), options)
  }

  #complain(error: Error): void {
    const text = error instanceof TributaryError ? error.message : String(error)
    if (text === this.#lastComplaint) return
    this.#lastComplaint = text
    this.#options.log.warn(`tracker ${this.name} does not take heartbeats: ${text}`)
  }

  #pause(ms: number): Promise<void> {
    return new Promise(resolve => {
      const timer = setTimeout(resolve, ms)
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
      if (this.#stopping || this.#changed) this.#wake()
    })
  }
}
