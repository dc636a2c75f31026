import { RestoreRefusedError } from './errors.ts'
import { textOf } from './file-record.ts'
import type { Kysely } from 'kysely'
import type { Schema } from './schema.ts'

/** A row of `meta` that stands while an index is filled from a backup: half of it must not be served. */
const NAME = 'restoring'

/** When a restore began that has not ended, as it was written; undefined: none. */
export async function restoringSince(database: Kysely<Schema>): Promise<string | undefined> {
  const [mark] = await database.selectFrom('meta').select('value').where('name', '=', NAME).execute()
  return mark && textOf(mark.value)
}

/** @throws {RestoreRefusedError} a restore goes on, or broke off. */
export async function refuseRestoring(database: Kysely<Schema>): Promise<void> {
  const since = await restoringSince(database)
  if (since === undefined) return
  throw new RestoreRefusedError(
    `the database is being restored since ${since}; if that broke off, run \`tributary restore\` again`
  )
}

export async function markRestoring(database: Kysely<Schema>, since: string): Promise<void> {
  await unmarkRestoring(database)
  await database.insertInto('meta').values({ name: NAME, value: since }).execute()
}

export async function unmarkRestoring(database: Kysely<Schema>): Promise<void> {
  await database.deleteFrom('meta').where('name', '=', NAME).execute()
}
