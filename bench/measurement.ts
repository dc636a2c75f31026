/** Two servers compared: rounds in turn, pair by pair, so that what else the machine does meets both alike. */
import { cpuSeconds, type Generator } from './children.ts'
import type { Task } from './task.ts'

export interface Subject {
  /** Processes whose CPU time counts. */
  pids: () => number[]
  /** @param round Negative: warm-up. */
  task: (round: number) => Task
  /** Outside of what is measured. */
  before?: () => Promise<void>
  after?: (round: number) => Promise<void>
}

export interface Rate {
  perS: number
  perCpuS: number
}

export interface Pair {
  floor: Rate
  ours: Rate
}

/** What a round counts. */
export type Unit = 'requests' | 'megabytes'

const WARM_UPS = 1

export async function measurePairs(
  generator: Generator,
  { floor, ours, unit, pairs }: { floor: Subject; ours: Subject; unit: Unit; pairs: number },
  signal: AbortSignal
): Promise<Pair[]> {
  const measured: Pair[] = []
  for (let round = -WARM_UPS; round < pairs; round++) {
    const one = (subject: Subject): Promise<Rate> => measure(generator, subject, round, unit, signal)
    // Whoever goes first meets the disk and the caches as the other one left them: they take turns.
    const isFloorFirst = round % 2 === 0
    const first = await one(isFloorFirst ? floor : ours)
    const second = await one(isFloorFirst ? ours : floor)
    if (round < 0) continue
    measured.push(isFloorFirst ? { floor: first, ours: second } : { floor: second, ours: first })
  }
  return measured
}

async function measure(
  generator: Generator,
  subject: Subject,
  round: number,
  unit: Unit,
  signal: AbortSignal
): Promise<Rate> {
  signal.throwIfAborted()
  await subject.before?.()
  const pids = subject.pids()
  const before = cpuSeconds(pids)
  const result = await generator.run(subject.task(round))
  const cpuS = cpuSeconds(pids) - before
  await subject.after?.(round)
  const amount = unit === 'requests' ? result.requests : result.bytes / 1e6
  return { perS: amount / (result.elapsedMs / 1_000), perCpuS: amount / cpuS }
}

export interface Spread {
  median: number
  min: number
  max: number
}

export function spreadOf(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  const median = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
  return { median, min: sorted[0]!, max: sorted.at(-1)! }
}
