/** Servers started one by one, each by its own command and from its own TOML file, as on several machines. */
import { writeFile } from 'node:fs/promises'
import { createConnection } from 'node:net'
import { join } from 'node:path'
import { freePort } from './ports.ts'
import { TributaryProcess, until } from './tributary-process.ts'

const LISTENS_WITHIN_MS = 60_000

export interface RoleServer {
  readonly name: string
  readonly port: number
  readonly address: string
  readonly process: TributaryProcess
  /** kill -9, with its workers. */
  kill(): Promise<void>
  /** After a kill, on the same port. Resolves when it listens. */
  start(): Promise<void>
  stop(): Promise<void>
}

export type Settings = Readonly<Record<string, string | number | boolean | readonly string[]>>

/**
 * A migrated index with the application `media`, and a store of group001, in `folder`: made by the command, as an
 * operator does.
 *
 * @throws what the command wrote, where it did not end with 0.
 */
export async function prepareCluster(folder: string): Promise<{ databaseUrl: string; store: string }> {
  const databaseUrl = `sqlite:${join(folder, 'index.db')}`
  const store = join(folder, 'store')
  for (const args of [
    ['db', 'migrate'],
    ['db', 'add-application', 'media'],
    ['storage', 'init', store, '--group', 'group001']
  ]) {
    const command = new TributaryProcess([...args, '--database', databaseUrl], { folder })
    const { exitCode } = await command.ended
    if (exitCode !== 0) throw new Error(`${args.join(' ')} ended with ${exitCode}: ${command.err}`)
  }
  return { databaseUrl, store }
}

/** As startRole does; what was started is stopped when `afterwards` has its turn. */
export type Start = (
  role: Parameters<typeof startRole>[0],
  name: string,
  settings: Settings
) => Promise<RoleServer>

export interface SmallCluster {
  databaseUrl: string
  store: string
  tracker: RoleServer
  ids: RoleServer
  /** In the order of their names. */
  members: readonly RoleServer[]
  start: Start
}

/**
 * A tracker, an ID server, and storage servers of group001 on one store, each a process of its own.
 *
 * @param folder    of their files; it must be there
 * @param names     of the storage servers
 * @param settings  of each storage server, beyond whom it has to do with
 */
export async function startSmallCluster(
  folder: string,
  afterwards: (undo: () => unknown) => void,
  names: readonly string[],
  settings: (name: string) => Settings = () => ({})
): Promise<SmallCluster> {
  const { databaseUrl, store } = await prepareCluster(folder)
  const start: Start = async (role, name, own) => {
    const server = await startRole(role, name, folder, own)
    afterwards(() => server.stop())
    return server
  }
  const database = [databaseUrl]
  const tracker = await start('tracker', 'tracker', { database })
  const ids = await start('id', 'id', { database })
  const members = await Promise.all(
    names.map(name =>
      start('storage', name, {
        database,
        stores: [store],
        trackers: [tracker.address],
        id_servers: [ids.address],
        reserve_bytes: '1MiB',
        ...settings(name)
      })
    )
  )
  return { databaseUrl, store, tracker, ids, members, start }
}

/** @param role The command's verb, which is also the table of the file. */
export async function startRole(
  role: 'tracker' | 'id' | 'storage' | 'gateway',
  name: string,
  folder: string,
  settings: Settings
): Promise<RoleServer> {
  const port = await freePort()
  const file = join(folder, `${name}.toml`)
  const lines = Object.entries({ host: '127.0.0.1', port, ...settings }).map(
    ([key, value]) => `${key} = ${JSON.stringify(value)}`
  )
  await writeFile(file, `[${role}]\n${lines.join('\n')}\n`)
  const spawn = async (): Promise<TributaryProcess> => {
    const started = new TributaryProcess([role, '--config', file], { folder })
    try {
      await until(`${name} listens`, LISTENS_WITHIN_MS, () => {
        if (!started.isRunning) throw new Error(`${name} ended: ${started.err}${started.out}`)
        return listens(port)
      })
    } catch (error) {
      await started.stop().catch(() => {})
      throw error
    }
    return started
  }
  let running = await spawn()
  return {
    name,
    port,
    address: `127.0.0.1:${port}`,
    get process() {
      return running
    },
    kill: async () => {
      const family = await running.family()
      for (const pid of family) running.kill(pid)
      await running.ended
    },
    start: async () => {
      running = await spawn()
    },
    stop: async () => {
      if (running.isRunning) await running.stop()
    }
  }
}

function listens(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = createConnection({ host: '127.0.0.1', port })
    socket.on('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.on('error', () => resolve(false))
  })
}
