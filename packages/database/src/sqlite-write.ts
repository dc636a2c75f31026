import type { ControlStatement } from './control.ts'
import type { Move } from './file-index.ts'
import type { SQLInputValue, SQLOutputValue } from './sqlite-connection.ts'

/** What the data path asks of the writing thread: a verb and its values, flat, because they are copied. */
export type SqliteWrite =
  | readonly ['insert', SQLInputValue[]]
  | readonly [
      'mark-deleting',
      application: string,
      user: string,
      file: string,
      generation: string,
      store: string | null
    ]
  | readonly ['move', Move]
  | readonly ['note-move', Move]
  | readonly ['withdraw-move', toStore: string, toPath: string]
  | readonly ['park-move', store: string, path: string, atMs: number]
  | readonly ['remove-move', store: string, path: string]
  | readonly ['forget-moves', group: string]
  | readonly ['remove', application: string, user: string, file: string, generation: string]
  | readonly ['change', ControlStatement[]]
  | readonly ['sync']
  | readonly [
      'set-media-type',
      application: string,
      user: string,
      file: string,
      generation: string,
      mediaType: string
    ]
  | readonly ['add-application', name: string]
  | readonly ['add-group', name: string]
  | readonly ['set-region', name: string, region: string]
  | readonly ['set-draining', name: string, draining: boolean]
  | readonly ['remove-group', name: string]
  | readonly ['retie', application: string, user: string, from: string, to: string]
  | readonly ['tie', application: string, user: string, group: string]
  | readonly ['reserve', key: string, count: number]
  | readonly ['raise', key: string, atLeast: bigint]
  | readonly ['take', name: string, holder: string, ttlMs: number]
  | readonly ['release', name: string, holder: string]

/** One transaction's worth; `durable`: synced before the answer. */
export interface SqliteBatch {
  durable: boolean
  writes: SqliteWrite[]
}

/** Per row: null = inserted (or there with the same generation), [] = its place is taken, else what FIND answers. */
export type InsertAnswer = true | (SQLOutputValue[] | null)[]
