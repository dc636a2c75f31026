/** How long one thing takes, done again and again. */

export interface Latency {
  medianMs: number
  /** Of twenty, the slowest but one. */
  p95Ms: number
}

export interface LatencyRow extends Latency {
  title: string
  /** For the median. */
  limitMs: number
}

const WARM_UP = 5
const TIMES = 60

export async function latencyOf(work: () => Promise<unknown>, times = TIMES): Promise<Latency> {
  for (let round = 0; round < WARM_UP; round++) await work()
  const took: number[] = []
  for (let round = 0; round < times; round++) {
    const startMs = performance.now()
    await work()
    took.push(performance.now() - startMs)
  }
  took.sort((a, b) => a - b)
  return { medianMs: took[Math.floor(times / 2)]!, p95Ms: took[Math.floor(times * 0.95)]! }
}

export function describeLatency({ title, medianMs, p95Ms, limitMs }: LatencyRow): string {
  const verdict = medianMs < limitMs ? 'PASS' : 'above'
  return `${title}: ${medianMs.toFixed(1)} ms (95 %: ${p95Ms.toFixed(1)} ms), below ${limitMs} ms  ${verdict}`
}

export function latencyTable(rows: readonly LatencyRow[]): string[] {
  return [
    '| what | median | 95 % | bound |',
    '| --- | --- | --- | --- |',
    ...rows.map(
      ({ title, medianMs, p95Ms, limitMs }) =>
        `| ${title} | ${medianMs.toFixed(1)} ms | ${p95Ms.toFixed(1)} ms | ${limitMs} ms ${medianMs < limitMs ? 'PASS' : 'above'} |`
    )
  ]
}
