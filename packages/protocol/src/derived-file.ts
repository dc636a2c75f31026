/**
 * Files that programs make from a film: its index, poster, renditions. Ordinary files of the film's application and user,
 * told by their ids, which carry the film's generation: those of a film that was replaced are not those of its successor.
 *
 *   .derived/<generation, 32 hex digits>/<what>        e.g. .derived/5f…9a/poster.jpg
 */
import { RejectedError } from './errors.ts'
import type { FileKey } from './file-key.ts'

export const DERIVED_PREFIX = '.derived/'
/** The first id in byte order that is behind all derived ones. */
export const DERIVED_END = '.derived0'
const WHAT = /^[a-z0-9][a-z0-9._-]{0,79}$/
const DERIVED = /^\.derived\/([0-9a-f]{32})\/([a-z0-9][a-z0-9._-]{0,79})$/

/** @param what e.g. `index`, `poster.jpg`; lower-case letters, digits, `.`, `_` and `-`. */
export function derivedFileId(generation: string, what: string): string {
  if (!WHAT.test(what)) throw new RejectedError('BAD_FIELD', `'${what}' cannot name a derived file`)
  return `${DERIVED_PREFIX}${generation}/${what}`
}

export function derivedKey({ application, user }: FileKey, generation: string, what: string): FileKey {
  return { application, user, file: derivedFileId(generation, what) }
}

/** undefined: an id that people gave. */
export function parseDerivedFileId(file: string): { generation: string; what: string } | undefined {
  const [, generation, what] = DERIVED.exec(file) ?? []
  return generation === undefined || what === undefined ? undefined : { generation, what }
}

/** Whether the id is in the part of the names that is kept for derived files, well-formed or not. */
export function isDerivedFileId(file: string): boolean {
  return file.startsWith(DERIVED_PREFIX)
}
