import type { FileRow } from '@tributary/database'

/** Where index and disk of a store differ. Kinds are for scripts: append only. */
export const FINDING_KINDS = [
  /** A row without its file. */
  'missing',
  /** A file without a row. */
  'orphaned',
  'wrong-size',
  'wrong-checksum',
  /** A file that the disk does not give. */
  'unreadable',
  /** A delete that was not finished; a storage server finishes it. */
  'half-deleted',
  /** A name that is no place of a file. */
  'stranger',
  /** A row of this store that names another group: nobody looks for the file here. */
  'wrong-group'
] as const
export type FindingKind = (typeof FINDING_KINDS)[number]

/** A file in the trash may be had back, and then is to be whole; nobody reads it meanwhile. */
export function detailOf({ state }: Pick<FileRow, 'state'>, detail: string): string {
  return state === 'trashed' ? `${detail}, in the trash` : detail
}

export interface Finding {
  kind: FindingKind
  store: string
  path: string
  /** application/user/file, where it is known. */
  file: string
  detail: string
}
