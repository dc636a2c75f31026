import { sql, type Kysely } from 'kysely'
import { Migrator } from 'kysely/migration'
import { SchemaVersionError } from './errors.ts'
import { LEAST_VERSION, migrationsOf, type Engine } from './migrations.ts'
import { SCHEMA_VERSION_MAX, SCHEMA_VERSION_MIN } from './schema.ts'
import { textOf } from './file-record.ts'
import type { Schema } from './schema.ts'

/** Version of the schema: the number of the last migration that was run, 0 where there is none. */
export async function schemaVersionOf(database: Kysely<Schema>): Promise<number> {
  const tables = await database.introspection.getTables({ withInternalKyselyTables: true })
  if (!tables.some(table => table.name === 'kysely_migration')) return 0
  const { rows } = await sql<{ name: string | Uint8Array }>`SELECT name FROM kysely_migration`.execute(
    database
  )
  return Math.max(0, ...rows.map(row => Number.parseInt(textOf(row.name), 10)))
}

/** @throws {SchemaVersionError} */
export async function checkSchemaVersion(database: Kysely<Schema>): Promise<void> {
  const version = await schemaVersionOf(database)
  if (version > SCHEMA_VERSION_MAX && (await leastVersionOf(database, version)) > SCHEMA_VERSION_MAX) {
    throw new SchemaVersionError(
      `the database has schema ${version}, this program knows up to ${SCHEMA_VERSION_MAX}: use a newer program`
    )
  }
  if (version >= SCHEMA_VERSION_MIN) return
  const found =
    version === 0 ? 'has not been migrated' : `has schema ${version}, ${SCHEMA_VERSION_MIN} is needed`
  throw new SchemaVersionError(`the database ${found}: run \`tributary db migrate\``)
}

/** What a newer schema asks of a program: one that only added to what we know lets us work. */
async function leastVersionOf(database: Kysely<Schema>, version: number): Promise<number> {
  const query = database.selectFrom('meta').select('value').where('name', '=', LEAST_VERSION)
  const row = await query.executeTakeFirst()
  const [said, least] = row ? textOf(row.value).split(' ').map(Number) : []
  return said === version && least !== undefined ? least : version
}

/**
 * Makes the database that of an existing cluster, as when an index is made again from the volumes. Only one without
 * a row may change sides.
 *
 * @throws {SchemaVersionError} it holds another cluster's files.
 */
export async function adoptCluster(database: Kysely<Schema>, clusterId: string): Promise<void> {
  const own = await database.selectFrom('meta').select('value').where('name', '=', 'cluster_id').execute()
  if (own[0] && textOf(own[0].value) === clusterId) return
  const rows = await database.selectFrom('files').select('path').limit(1).execute()
  if (rows.length > 0) throw new SchemaVersionError("the database holds another cluster's files")
  await database.updateTable('meta').set({ value: clusterId }).where('name', '=', 'cluster_id').execute()
}

/** Runs what is missing. @throws {SchemaVersionError} the database is newer than this program. */
export async function migrate(
  database: Kysely<Schema>,
  engine: Engine
): Promise<{ from: number; to: number }> {
  const from = await schemaVersionOf(database)
  if (from > SCHEMA_VERSION_MAX) {
    throw new SchemaVersionError(
      `the database has schema ${from}, this program makes ${SCHEMA_VERSION_MAX}: nothing was changed`
    )
  }
  const provider = { getMigrations: async () => migrationsOf(engine) }
  const { error } = await new Migrator({ db: database, provider }).migrateToLatest()
  if (error instanceof Error) throw error
  if (error !== undefined) throw new Error('a migration failed', { cause: error })
  return { from, to: await schemaVersionOf(database) }
}
