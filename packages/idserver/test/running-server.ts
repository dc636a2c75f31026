import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { migrateDatabase } from '@tributary/database'
import type { Address } from '@tributary/protocol'
import { loadConfig, silentLog, systemClock } from '@tributary/runtime'
import { Connection, type Greeting } from '@tributary/transport'
import { createIdServer, idServerConfig, type IdServer, type IdServerDeps } from '../src/index.ts'

export interface Cleaner {
  after(callback: () => unknown): void
}

export async function temporaryFolder(t: Cleaner): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'tributary-id-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  return folder
}

/** Migrated once and copied: a migration waits for the disk many times. */
let template: Promise<readonly [ending: string, bytes: Buffer][]> | undefined

async function migratedFiles(t: Cleaner): Promise<[ending: string, bytes: Buffer][]> {
  const path = join(await temporaryFolder(t), 'index.db')
  await migrateDatabase(`sqlite:${path}`)
  const endings = ['', '-wal'].filter(ending => existsSync(path + ending))
  return Promise.all(endings.map(async ending => [ending, await readFile(path + ending)] as [string, Buffer]))
}

/** Address of a migrated SQLite file in a folder of its own. */
export async function sqliteUrl(t: Cleaner): Promise<string> {
  const path = join(await temporaryFolder(t), 'index.db')
  for (const [ending, bytes] of await (template ??= migratedFiles(t))) await writeFile(path + ending, bytes)
  return `sqlite:${path}`
}

export interface RunningServer {
  server: IdServer
  address: Address
  stop(): Promise<void>
}

export async function runIdServer(
  t: Cleaner,
  flags: Readonly<Record<string, unknown>>,
  deps: Partial<IdServerDeps> = {}
): Promise<RunningServer> {
  const config = loadConfig(idServerConfig, { flags: { '--port': '0', '--host-name': 'vm', ...flags } })
  const server = createIdServer({ config, log: silentLog(), clock: systemClock(), version: '0.1.0', ...deps })
  const address = await server.start()
  const stop = (): Promise<void> => server.stop(AbortSignal.timeout(2_000))
  t.after(stop)
  return { server, address, stop }
}

export const CLIENT_GREETING: Greeting = { role: 'client', cluster: '', version: '0.1.0' }
/** Generous: the machine may be busy with other tests. */
export const CALL = { timeoutMs: 20_000 }

/** A connection of a program of ours; without `greets`, of a legacy one. */
export async function connectTo(t: Cleaner, address: Address, greets = false): Promise<Connection> {
  const connection = await Connection.open('id', address, { timeoutMs: 2_000 })
  t.after(() => connection.destroy())
  if (greets) await connection.greet(CLIENT_GREETING, CALL)
  return connection
}
