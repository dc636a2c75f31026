/** Decoding times of pictures whose container has times of showing only. */
import type { SampleTable } from './sample-table.ts'

/**
 * Pictures stand in decoding order, and `dts` holds when each is shown. The i-th to be decoded gets the i-th time of
 * showing, less the delay that lets none be shown before it is decoded.
 *
 * @param usual  ticks of a picture, if the container says so; 0: it does not
 */
export function orderByPresentation(samples: SampleTable, usual: number): void {
  const { count, dts, shifts, durations } = samples
  const shown = dts.slice(0, count)
  const sorted = shown.slice().sort()
  for (let index = 1; index < count; index++) {
    if (sorted[index]! <= sorted[index - 1]!) sorted[index] = sorted[index - 1]! + 1
  }
  let delay = 0
  for (let index = 0; index < count; index++) delay = Math.max(delay, sorted[index]! - shown[index]!)
  for (let index = 0; index < count; index++) {
    const decoded = sorted[index]! - delay
    dts[index] = decoded
    shifts[index] = shown[index]! - decoded
    if (index + 1 < count) durations[index] = Math.min(sorted[index + 1]! - sorted[index]!, 0xffff_ffff)
  }
  const last = count - 1
  if (durations[last] === 0) durations[last] = usual || (count > 1 ? durations[last - 1]! : 1)
}
