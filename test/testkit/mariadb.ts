import { execFile } from 'node:child_process'
import { cp, mkdir, mkdtemp, readFile, rename, rm, stat } from 'node:fs/promises'
import { createConnection } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { freePort } from './ports.ts'
import { missingPrograms, programPath, Service } from './service.ts'

const execute = promisify(execFile)
const READY_TIMEOUT_MS = 30_000
const CACHE = fileURLToPath(new URL('../../.cache/', import.meta.url))
const DATABASE = 'tributary'

export interface Mariadb {
  /** Of an empty database; user root without a password. */
  readonly url: string
  readonly port: number
  readonly pid: number
  /** Another empty database on the same server. */
  createDatabase(name: string): Promise<string>
  /** Runs SQL as root, beside everything under test. */
  sql(statement: string): Promise<string>
  kill(signal: NodeJS.Signals): void
  /** SIGSTOP; resolves when nothing of it answers any more. */
  freeze(): Promise<void>
  /** After a kill: the same data, the same port. */
  restart(): Promise<void>
  stop(): Promise<void>
}

/** Why there can be no MariaDB here, if so. @throws where nothing may be skipped. */
export function noMariadb(): string | undefined {
  return missingPrograms(['mariadbd', 'mariadb-install-db', 'mariadb'])
}

/** A MariaDB of its own in a temporary folder, ready. `flags` are mariadbd's. */
export async function startMariadb(flags: readonly string[] = []): Promise<Mariadb> {
  const folder = await mkdtemp(join(tmpdir(), 'tributary-mariadb-'))
  const data = join(folder, 'data')
  await cp(await systemTables(), data, { recursive: true })
  const port = await freePort()
  const socket = join(folder, 'socket')
  const log = join(folder, 'log')
  const service = new Service(
    [
      programPath('mariadbd')!,
      '--no-defaults',
      '--user=root',
      `--datadir=${data}`,
      `--socket=${socket}`,
      `--port=${port}`,
      '--bind-address=127.0.0.1',
      `--pid-file=${join(folder, 'pid')}`,
      `--tmpdir=${folder}`,
      '--skip-name-resolve',
      '--innodb-buffer-pool-size=64M',
      '--innodb-log-file-size=32M',
      ...flags
    ],
    log
  )

  const start = async (): Promise<void> => {
    await service.start()
    const deadline = performance.now() + READY_TIMEOUT_MS
    while (!(await greets(port))) {
      if (service.isRunning && performance.now() < deadline) {
        await sleep(20)
        continue
      }
      await service.stop()
      throw new Error(`MariaDB did not start:\n${(await readFile(log, 'utf8')).slice(-2000)}`)
    }
  }
  const sql = async (statement: string): Promise<string> => {
    const client = programPath('mariadb')!
    const { stdout } = await execute(client, ['--no-defaults', '-uroot', '-N', '-S', socket, '-e', statement])
    return stdout
  }
  const createDatabase = async (name: string): Promise<string> => {
    await sql(`CREATE DATABASE ${name}`)
    return `mysql://root@127.0.0.1:${port}/${name}`
  }

  await start()
  return {
    url: await createDatabase(DATABASE),
    port,
    get pid() {
      return service.pid
    },
    createDatabase,
    sql,
    kill: signal => service.kill(signal),
    freeze: () => service.freeze(),
    restart: async () => {
      await service.exited()
      await start()
    },
    stop: async () => {
      await service.stop()
      await rm(folder, { recursive: true, force: true })
    }
  }
}

/** mariadb-install-db takes seconds and always makes the same: it is run once per version. */
async function systemTables(): Promise<string> {
  const { stdout } = await execute(programPath('mariadbd')!, ['--version'])
  const version = /Ver (\S+)/.exec(stdout)?.[1] ?? 'unknown'
  const cached = join(CACHE, `mariadb-${version}`)
  if (await stat(cached).catch(() => undefined)) return cached
  await mkdir(CACHE, { recursive: true })
  const fresh = await mkdtemp(join(CACHE, 'mariadb-fresh-'))
  await execute(programPath('mariadb-install-db')!, [
    '--no-defaults',
    '--user=root',
    `--datadir=${fresh}`,
    '--auth-root-authentication-method=normal',
    '--skip-test-db',
    '--innodb-log-file-size=32M'
  ])
  // Another test run may have been faster; then its result serves.
  await rename(fresh, cached).catch(() => rm(fresh, { recursive: true }))
  return cached
}

/** A server that is ready speaks first. */
function greets(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = createConnection({ host: '127.0.0.1', port })
    const settle = (isReady: boolean): void => {
      socket.destroy()
      resolve(isReady)
    }
    socket.setTimeout(1000, () => settle(false))
    socket.on('data', () => settle(true))
    socket.on('error', () => settle(false))
    socket.on('close', () => settle(false))
  })
}
