import { Access } from './access.ts'
import { Audit } from './audit.ts'
import { Plays } from './plays.ts'
import { Shares } from './shares.ts'
import { Webhooks } from './webhooks.ts'
import type { Control } from './control.ts'
import type { SchemaGate } from './schema-gate.ts'

/** What the door of a cluster needs: all of it came with one schema. */
export class AccessIndex {
  readonly tokens: Access
  readonly shares: Shares
  readonly audit: Audit
  readonly plays: Plays
  readonly webhooks: Webhooks
  readonly #gate: SchemaGate

  constructor(control: Control, gate: SchemaGate) {
    this.tokens = new Access(control)
    this.shares = new Shares(control)
    this.audit = new Audit(control)
    this.plays = new Plays(control)
    this.webhooks = new Webhooks(control)
    this.#gate = gate
  }

  /** To be passed before anything is asked. @throws {SchemaVersionError} the database has no such tables yet. */
  ready(): Promise<void> {
    return this.#gate.pass()
  }
}
