const UNITS: Record<string, number> = {
  '': 1,
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
  k: 2 ** 10,
  m: 2 ** 20,
  g: 2 ** 30,
  t: 2 ** 40,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
  tib: 2 ** 40
}

/**
 * Reads a size: `1048576`, `64KiB`, `1.5GiB`, `5MB`; `K`, `M`, `G`, `T` alone are binary.
 *
 * @returns whole bytes, 0..2^53-1.
 * @throws {Error} with a message that says what was expected.
 */
export function parseByteSize(text: string): number {
  const [, number, unit = ''] = /^\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*$/i.exec(text) ?? []
  const factor = UNITS[unit.toLowerCase()]
  const bytes = Math.round(Number(number) * (factor ?? Number.NaN))
  if (!Number.isSafeInteger(bytes))
    throw new Error('expected a size such as 1048576, 64KiB, 256MiB or 1.5GiB')
  return bytes
}

/** Writes a size with the largest binary unit that leaves it whole: 268435456 → `256MiB`. */
export function formatByteSize(bytes: number): string {
  for (const unit of ['TiB', 'GiB', 'MiB', 'KiB']) {
    const factor = UNITS[unit.toLowerCase()] ?? 1
    if (bytes >= factor && bytes % factor === 0) return `${bytes / factor}${unit}`
  }
  return String(bytes)
}
