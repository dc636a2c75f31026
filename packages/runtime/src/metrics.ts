import { monitorEventLoopDelay } from 'node:perf_hooks'
import { Counter, Gauge, Registry, type Metric } from '@prometheus-io/client'
import { LATENCY_BOUNDS_MS, type MeterSnapshot } from './meter.ts'
import type { ProcessPort } from './process-port.ts'

export interface GaugeReading {
  labels?: Readonly<Record<string, string>>
  value: number
}

/** One number, or one per set of labels; read when somebody scrapes, so it must be cheap. */
export type ReadGauge = () => number | readonly GaugeReading[]

/**
 * What one server exposes at /metrics. Names are `tributary_<role>_<noun>_<unit>`, units as Prometheus wants
 * them: seconds and bytes; counters end in `_total`.
 */
export class Metrics {
  readonly #registry = new Registry()
  readonly #prefix: string

  /** @param role  as in `tracker`: letters, digits and underscores. */
  constructor(role: string) {
    this.#prefix = `tributary_${role}_`
  }

  get contentType(): string {
    return this.#registry.contentType
  }

  /** Everything in Prometheus' text format. */
  text(): Promise<string> {
    return this.#registry.metrics()
  }

  /**
   * Exposes the requests, bytes and connections of a meter, or of the sum of several.
   *
   * @param snapshot  called once per metric family at each scrape.
   */
  addMeter(snapshot: () => MeterSnapshot): void {
    const registers = [this.#registry]
    const requests = new Counter({
      name: `${this.#prefix}requests_total`,
      help: 'Requests answered, by command and outcome',
      labelNames: ['command', 'outcome'],
      registers,
      collect: () => {
        requests.reset()
        for (const [command, { outcomes }] of Object.entries(snapshot().commands)) {
          requests.inc({ command, outcome: 'ok' }, outcomes['ok'] ?? 0)
          for (const [outcome, count] of Object.entries(outcomes)) {
            if (outcome !== 'ok') requests.inc({ command, outcome }, count)
          }
        }
      }
    })
    // The library's Histogram takes samples one by one only; ours are in buckets already.
    const latency = new BucketHistogram(
      `${this.#prefix}request_duration_seconds`,
      'Time from the first byte of a request to the last of its reply',
      snapshot
    )
    this.#registry.registerMetric(latency as unknown as Metric<string>)
    this.counter('received_bytes_total', 'Bytes received from clients', () => snapshot().bytesReceived)
    this.counter('sent_bytes_total', 'Bytes sent to clients', () => snapshot().bytesSent)
    this.counter('connections_accepted_total', 'Connections accepted', () => snapshot().connectionsAccepted)
    this.counter('connections_refused_total', 'Connections turned away', () => snapshot().connectionsRefused)
    this.gauge('connections_open', 'Connections open now', () => snapshot().connectionsOpen)
  }

  /**
   * A value that goes up and down, such as capacity or a heartbeat's age.
   *
   * @param name        without the prefix, unit last: `heartbeat_age_seconds`.
   * @param labelNames  needed where `read` gives labels.
   */
  gauge(name: string, help: string, read: ReadGauge, labelNames: readonly string[] = []): void {
    const gauge = new Gauge({
      name: this.#prefix + name,
      help,
      labelNames: [...labelNames],
      registers: [this.#registry],
      collect() {
        gauge.reset()
        for (const { labels, value } of readings(read())) gauge.set({ ...labels }, value)
      }
    })
  }

  /** A value that only grows while the process lives; `read` gives the total. The name ends in `_total`. */
  counter(name: string, help: string, read: ReadGauge, labelNames: readonly string[] = []): void {
    const counter = new Counter({
      name: this.#prefix + name,
      help,
      labelNames: [...labelNames],
      registers: [this.#registry],
      collect() {
        counter.reset()
        for (const { labels, value } of readings(read())) counter.inc({ ...labels }, value)
      }
    })
  }

  /**
   * Memory, CPU and event-loop lag under the names that Prometheus' own dashboards look for.
   *
   * @returns a function that ends the measuring of the lag.
   */
  addProcess(port: ProcessPort): () => void {
    const registers = [this.#registry]
    const startSeconds = Date.now() / 1000 - port.uptimeSeconds()
    const plain = (name: string, help: string, read: () => number): void => {
      const gauge: Gauge = new Gauge({
        name,
        help,
        registers,
        collect: () => gauge.set(read())
      })
    }
    plain('process_resident_memory_bytes', 'Resident set size', () => port.residentBytes())
    plain('nodejs_heap_used_bytes', 'JavaScript heap in use', () => port.heapUsedBytes())
    plain('process_start_time_seconds', 'UNIX time of the start', () => startSeconds)
    const cpu = new Counter({
      name: 'process_cpu_seconds_total',
      help: 'CPU time of all threads, user and system',
      registers,
      collect: () => {
        const { user, system } = port.cpuSeconds()
        cpu.reset()
        cpu.inc(user + system)
      }
    })
    const delay = monitorEventLoopDelay({ resolution: LAG_RESOLUTION_MS })
    delay.enable()
    const lag = (delayNs: number): number => {
      // A timer of the resolution's length is what is measured: what it took longer is the lag.
      const seconds = delayNs / 1e9 - LAG_RESOLUTION_MS / 1e3
      return Number.isFinite(seconds) ? Math.max(0, seconds) : 0
    }
    const quantiles = new Gauge({
      name: 'nodejs_eventloop_lag_seconds',
      help: 'How late the event loop was since the last scrape',
      labelNames: ['quantile'],
      registers,
      collect: () => {
        quantiles.set({ quantile: '0.5' }, lag(delay.percentile(50)))
        quantiles.set({ quantile: '0.99' }, lag(delay.percentile(99)))
        quantiles.set({ quantile: '1' }, lag(delay.max))
        delay.reset()
      }
    })
    return () => {
      delay.disable()
    }
  }
}

/** Wakes the process 50 times a second: fine enough for lag that anybody would notice. */
const LAG_RESOLUTION_MS = 20

function readings(read: number | readonly GaugeReading[]): readonly GaugeReading[] {
  return typeof read === 'number' ? [{ value: read }] : read
}

interface Sample {
  metricName: string
  labels: Record<string, string | number>
  value: number
}

class BucketHistogram {
  readonly type = 'histogram'
  readonly aggregator = 'sum'
  readonly name: string
  readonly help: string
  readonly #snapshot: () => MeterSnapshot

  constructor(name: string, help: string, snapshot: () => MeterSnapshot) {
    this.name = name
    this.help = help
    this.#snapshot = snapshot
  }

  get(): Promise<{ name: string; help: string; type: string; aggregator: string; values: Sample[] }> {
    const values: Sample[] = []
    for (const [command, { buckets, latencySumMs }] of Object.entries(this.#snapshot().commands)) {
      let below = 0
      for (const [index, bound] of LATENCY_BOUNDS_MS.entries()) {
        below += buckets[index] ?? 0
        values.push({
          metricName: `${this.name}_bucket`,
          labels: { le: bound / 1000, command },
          value: below
        })
      }
      const count = below + (buckets[LATENCY_BOUNDS_MS.length] ?? 0)
      values.push(
        { metricName: `${this.name}_bucket`, labels: { le: '+Inf', command }, value: count },
        { metricName: `${this.name}_sum`, labels: { command }, value: latencySumMs / 1000 },
        { metricName: `${this.name}_count`, labels: { command }, value: count }
      )
    }
    return Promise.resolve({
      name: this.name,
      help: this.help,
      type: this.type,
      aggregator: this.aggregator,
      values
    })
  }

  /** The registry resets what it holds; what is counted here belongs to the meter. */
  reset(): void {}
}
