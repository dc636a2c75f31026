import { SchemaVersionError } from './errors.ts'
import { schemaVersionOf } from './schema-version.ts'
import type { Kysely } from 'kysely'
import type { Schema } from './schema.ts'

/** Lets through what the schema has: a program may run before the database is migrated, and goes on after it. */
export class SchemaGate {
  readonly #database: Kysely<Schema>
  readonly #version: number
  #isOpen = false

  /** @param version of the schema that is needed. */
  constructor(database: Kysely<Schema>, version: number) {
    this.#database = database
    this.#version = version
  }

  /** @throws {SchemaVersionError} */
  async pass(): Promise<void> {
    if (this.#isOpen) return
    const version = await schemaVersionOf(this.#database)
    if (version < this.#version) {
      throw new SchemaVersionError(
        `the database has schema ${version}, this needs ${this.#version}: run \`tributary db migrate\``
      )
    }
    this.#isOpen = true
  }
}
