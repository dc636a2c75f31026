/**
 * Where a file with a given id lies in its store: the id in base 512, four digits of three hexadecimal digits
 * each, and the time of storing. Source: docs/PROTOCOL.md, Storage path.
 *
 *   id 512, stored at 0x5F9E3FA7 → 000/000/001/5F9E3FA7_000
 */
import { invariant, UnavailableError } from '@tributary/protocol'

/** Files that one store can hold: 512 to the fourth. */
export const STORE_IDS_MAX = 2 ** 36

export interface StorePath {
  /** Directory, three levels deep, relative in the store. */
  readonly directory: string
  /** Directory and name. */
  readonly path: string
}

/**
 * @param storedAtS UNIX seconds; never read back for meaning.
 * @throws {UnavailableError} IDS_EXHAUSTED: the store is full of names.
 */
export function storePathOf(id: number, storedAtS: number): StorePath {
  invariant(Number.isSafeInteger(id) && id >= 0, 'ids are whole numbers')
  if (id >= STORE_IDS_MAX)
    throw new UnavailableError('IDS_EXHAUSTED', 'the store has used up its 512^4 names')
  const directory = `${digit(id, 3)}/${digit(id, 2)}/${digit(id, 1)}`
  return { directory, path: `${directory}/${storedAtS.toString(16).toUpperCase()}_${digit(id, 0)}` }
}

/** The id behind a path of a store, or undefined where it is not one. */
export function idOfStorePath(path: string): number | undefined {
  const match = PATH_PATTERN.exec(path)
  if (!match) return undefined
  let id = 0
  for (const hex of match.slice(1)) {
    const value = Number.parseInt(hex, 16)
    if (value > 511) return undefined
    id = id * 512 + value
  }
  return id
}

const PATH_PATTERN = /^([0-9A-F]{3})\/([0-9A-F]{3})\/([0-9A-F]{3})\/[0-9A-F]+_([0-9A-F]{3})$/

function digit(id: number, position: 0 | 1 | 2 | 3): string {
  return DIGITS[Math.floor(id / 512 ** position) % 512]!
}

const DIGITS = Array.from({ length: 512 }, (_, value) => value.toString(16).toUpperCase().padStart(3, '0'))
