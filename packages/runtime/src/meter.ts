/**
 * Upper bounds of the latency buckets in milliseconds, each including its bound; what is slower falls into
 * one more bucket. 0.1 ms is a lookup in memory, 60 s an upload over a thin line.
 */
export const LATENCY_BOUNDS_MS = [
  0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000
] as const

/** The outcome of a request that succeeded; every other outcome is an error code. */
export const OUTCOME_OK = 'ok'
/** Outcomes beyond this number are counted together as `other`. */
const OUTCOMES_MAX = 64
const OTHER = 'other'
const BUCKETS = LATENCY_BOUNDS_MS.length + 1

export interface CommandSnapshot {
  /** Requests by outcome: `ok` or an error code. */
  outcomes: Record<string, number>
  /** Requests per bucket of LATENCY_BOUNDS_MS, not cumulative; the last is everything slower. */
  buckets: number[]
  latencySumMs: number
}

/** A plain object that can be sent to another process. */
export interface MeterSnapshot {
  commands: Record<string, CommandSnapshot>
  bytesReceived: number
  bytesSent: number
  connectionsAccepted: number
  connectionsRefused: number
  connectionsOpen: number
}

/** Connections of one server, where it counts them itself. */
export interface ConnectionCounts {
  accepted: number
  refused: number
  open: number
}

/**
 * Counts the requests of one server process: plain typed arrays, so that a sample costs well under 100 ns
 * and no garbage. What is exposed is made from `snapshot()`, when somebody asks.
 */
export class RequestMeter<Command extends string = string> {
  readonly #commands: readonly Command[]
  readonly #rows = new Map<string, number>()
  readonly #outcomes: string[] = [OUTCOME_OK, OTHER]
  readonly #columns = new Map<string, number>([
    [OUTCOME_OK, 0],
    [OTHER, 1]
  ])
  readonly #counts: Float64Array // float64 holds whole numbers to 2^53; uint32 would wrap within days
  readonly #buckets: Float64Array
  readonly #sumMs: Float64Array
  #bytesReceived = 0
  #bytesSent = 0
  #accepted = 0
  #refused = 0
  #open = 0

  /** @param commands  all the names that will be recorded; another one is counted as `other`. */
  constructor(commands: readonly Command[]) {
    this.#commands = commands
    for (const command of commands) this.#rows.set(command, this.#rows.size)
    if (!this.#rows.has(OTHER)) this.#rows.set(OTHER, this.#rows.size)
    this.#counts = new Float64Array(this.#rows.size * OUTCOMES_MAX)
    this.#buckets = new Float64Array(this.#rows.size * BUCKETS)
    this.#sumMs = new Float64Array(this.#rows.size)
  }

  /** The names it was made with. */
  get commands(): readonly Command[] {
    return this.#commands
  }

  /**
   * One request is done.
   *
   * @param outcome    `ok`, or the code of the error it was answered with.
   * @param latencyMs  from its first byte to the last of its reply, on the monotonic clock.
   */
  record(command: Command, outcome: string, latencyMs: number): void {
    const row = this.#rows.get(command) ?? this.#otherRow()
    const column = this.#columns.get(outcome) ?? this.#newColumn(outcome)
    const counted = row * OUTCOMES_MAX + column
    this.#counts[counted] = (this.#counts[counted] as number) + 1
    let bucket = 0
    while (bucket < BUCKETS - 1 && latencyMs > (LATENCY_BOUNDS_MS[bucket] as number)) bucket++
    const slot = row * BUCKETS + bucket
    this.#buckets[slot] = (this.#buckets[slot] as number) + 1
    this.#sumMs[row] = (this.#sumMs[row] as number) + latencyMs
  }

  /** `record` and the bytes of one request in the order in which servers tell of it. */
  observe(command: Command, outcome: string, latencyMs: number, bytesIn: number, bytesOut: number): void {
    this.record(command, outcome, latencyMs)
    this.#bytesReceived += bytesIn
    this.#bytesSent += bytesOut
  }

  bytesReceived(bytes: number): void {
    this.#bytesReceived += bytes
  }

  bytesSent(bytes: number): void {
    this.#bytesSent += bytes
  }

  connectionOpened(): void {
    this.#accepted++
    this.#open++
  }

  connectionClosed(): void {
    this.#open--
  }

  /** Turned away by an allow list or a bound; it was never open. */
  connectionRefused(): void {
    this.#refused++
  }

  /** @param connections  of a server that counts them itself; without it those told to this meter. */
  snapshot(connections?: ConnectionCounts): MeterSnapshot {
    const commands: MeterSnapshot['commands'] = {}
    for (const [command, row] of this.#rows) {
      const outcomes: Record<string, number> = {}
      for (const [column, outcome] of this.#outcomes.entries()) {
        const count = this.#counts[row * OUTCOMES_MAX + column] as number
        if (count > 0) outcomes[outcome] = count
      }
      if (command === OTHER && Object.keys(outcomes).length === 0) continue
      commands[command] = {
        outcomes,
        buckets: Array.from(this.#buckets.subarray(row * BUCKETS, (row + 1) * BUCKETS)),
        latencySumMs: this.#sumMs[row] as number
      }
    }
    return {
      commands,
      bytesReceived: this.#bytesReceived,
      bytesSent: this.#bytesSent,
      connectionsAccepted: connections?.accepted ?? this.#accepted,
      connectionsRefused: connections?.refused ?? this.#refused,
      connectionsOpen: connections?.open ?? this.#open
    }
  }

  #otherRow(): number {
    return this.#rows.get(OTHER) as number
  }

  #newColumn(outcome: string): number {
    if (this.#outcomes.length >= OUTCOMES_MAX) return 1
    const column = this.#outcomes.push(outcome) - 1
    this.#columns.set(outcome, column)
    return column
  }
}

export function emptySnapshot(): MeterSnapshot {
  return {
    commands: {},
    bytesReceived: 0,
    bytesSent: 0,
    connectionsAccepted: 0,
    connectionsRefused: 0,
    connectionsOpen: 0
  }
}

/** Adds the snapshots of several processes. */
export function mergeSnapshots(snapshots: Iterable<MeterSnapshot>): MeterSnapshot {
  const sum = emptySnapshot()
  for (const snapshot of snapshots) {
    sum.bytesReceived += snapshot.bytesReceived
    sum.bytesSent += snapshot.bytesSent
    sum.connectionsAccepted += snapshot.connectionsAccepted
    sum.connectionsRefused += snapshot.connectionsRefused
    sum.connectionsOpen += snapshot.connectionsOpen
    for (const [command, from] of Object.entries(snapshot.commands)) {
      const into = (sum.commands[command] ??= {
        outcomes: {},
        buckets: Array.from({ length: BUCKETS }, () => 0),
        latencySumMs: 0
      })
      for (const [outcome, count] of Object.entries(from.outcomes)) {
        into.outcomes[outcome] = (into.outcomes[outcome] ?? 0) + count
      }
      for (const [bucket, count] of from.buckets.entries())
        into.buckets[bucket] = (into.buckets[bucket] ?? 0) + count
      into.latencySumMs += from.latencySumMs
    }
  }
  return sum
}
