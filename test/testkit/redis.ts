import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createConnection } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePort } from './ports.ts'
import { missingPrograms, programPath, Service } from './service.ts'

const READY_TIMEOUT_MS = 10_000

export interface RedisServer {
  readonly url: string
  readonly port: number
  readonly pid: number
  /** One inline command; the raw reply. */
  command(line: string): Promise<string>
  kill(signal: NodeJS.Signals): void
  /** SIGSTOP; resolves when nothing of it answers any more. */
  freeze(): Promise<void>
  /** After a kill: empty, on the same port. */
  restart(): Promise<void>
  stop(): Promise<void>
}

/** Why there can be no Redis here, if so. @throws where nothing may be skipped. */
export function noRedis(): string | undefined {
  return missingPrograms(['redis-server'])
}

/**
 * A Redis of its own that keeps nothing on disk, ready.
 *
 * @param flags   redis-server's.
 * @param config  file that it reads before them.
 */
export async function startRedis(flags: readonly string[] = [], config?: string): Promise<RedisServer> {
  const folder = await mkdtemp(join(tmpdir(), 'tributary-redis-'))
  const port = await freePort()
  const log = join(folder, 'log')
  const service = new Service(
    [
      programPath('redis-server')!,
      ...(config === undefined ? [] : [config]),
      '--port',
      String(port),
      '--bind',
      '127.0.0.1',
      '--dir',
      folder,
      '--save',
      '',
      '--appendonly',
      'no',
      ...flags
    ],
    log
  )
  const start = async (): Promise<void> => {
    await service.start()
    const deadline = performance.now() + READY_TIMEOUT_MS
    // One with a password says that it wants it: it is ready too.
    while (!/^(?:\+PONG|-NOAUTH)/.test(await command(port, 'PING').catch(() => ''))) {
      if (service.isRunning && performance.now() < deadline) {
        await sleep(10)
        continue
      }
      await service.stop()
      throw new Error(`Redis did not start:\n${(await readFile(log, 'utf8')).slice(-2000)}`)
    }
  }

  await start()
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    get pid() {
      return service.pid
    },
    command: line => command(port, line),
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

export interface Sentinel {
  readonly port: number
  /** One inline command; the raw reply. */
  command(line: string): Promise<string>
  stop(): Promise<void>
}

/** Why there can be no Sentinel here, if so. @throws where nothing may be skipped. */
export function noSentinel(): string | undefined {
  return missingPrograms(['redis-server', 'redis-sentinel'])
}

/** A Sentinel that watches `primary` on this machine under the name `tributary`, ready. */
export async function startSentinel(
  primary: { port: number; password: string },
  quorum: number
): Promise<Sentinel> {
  const folder = await mkdtemp(join(tmpdir(), 'tributary-sentinel-'))
  const port = await freePort()
  const config = join(folder, 'sentinel.conf')
  const lines = [
    'bind 127.0.0.1',
    `port ${port}`,
    `dir ${folder}`,
    `sentinel monitor tributary 127.0.0.1 ${primary.port} ${quorum}`,
    `sentinel auth-pass tributary ${primary.password}`,
    'sentinel down-after-milliseconds tributary 1000',
    'sentinel failover-timeout tributary 10000',
    ''
  ]
  await writeFile(config, lines.join('\n'))
  const log = join(folder, 'log')
  const service = new Service([programPath('redis-sentinel')!, config], log)
  await service.start()
  const deadline = performance.now() + READY_TIMEOUT_MS
  while (!(await command(port, 'PING').catch(() => '')).startsWith('+PONG')) {
    if (service.isRunning && performance.now() < deadline) {
      await sleep(10)
      continue
    }
    await service.stop()
    throw new Error(`Sentinel did not start:\n${(await readFile(log, 'utf8')).slice(-2000)}`)
  }
  return {
    port,
    command: line => command(port, line),
    stop: async () => {
      await service.stop()
      await rm(folder, { recursive: true, force: true })
    }
  }
}

function command(port: number, line: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = createConnection({ host: '127.0.0.1', port }, () => socket.end(`${line}\r\n`))
    const chunks: Buffer[] = []
    socket.setTimeout(2000, () => socket.destroy(new Error('Redis is silent')))
    socket.on('data', chunk => chunks.push(chunk))
    socket.on('error', reject)
    socket.on('close', () => resolve(Buffer.concat(chunks).toString()))
  })
}
