/** Bit rates as RFC 8216 §4.3.4.2 defines them. */

export interface BitRates {
  peak: number
  average: number
}

/**
 * The highest rate of any segments in a row that last between half and one and a half target durations, and the rate of all.
 *
 * @param seconds  of each segment
 * @param bytes    of each segment
 */
export function bitRates(seconds: readonly number[], bytes: readonly number[], targetS: number): BitRates {
  let totalS = 0
  let totalBytes = 0
  let peak = 0
  for (let first = 0; first < bytes.length; first++) {
    totalS += seconds[first]!
    totalBytes += bytes[first]!
    let runS = 0
    let runBytes = 0
    for (let index = first; index < bytes.length; index++) {
      runS += seconds[index]!
      runBytes += bytes[index]!
      if (runS > targetS * 1.5) break
      if (runS >= targetS * 0.5) peak = Math.max(peak, (runBytes * 8) / runS)
    }
  }
  const average = totalS > 0 ? (totalBytes * 8) / totalS : 0
  return { peak: Math.max(1, Math.ceil(Math.max(peak, average))), average: Math.max(1, Math.ceil(average)) }
}
