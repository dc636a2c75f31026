/** From flags to what will run: folders, ports, and the arguments of each process. */
import { resolve } from 'node:path'
import { isName } from '@tributary/protocol'
import { formatHostPort, isLoopbackHost } from '@tributary/runtime'
import { absoluteUrl } from '../database-flag.ts'
import { UsageError } from '../exit-code.ts'

export const GROUP = 'group001'
export const STORAGES_MAX = 16
const WORKERS_MAX = 64
const APPLICATION_CHARACTERS_MAX = 15

export interface UpFlags {
  data: string
  host: string
  trackerPort: number
  idPort: number
  storagePort: number
  storages: number
  httpPort: number
  apps: string
  database?: string
  redis?: string
  lan?: boolean
  certificate?: string | undefined
  privateKey?: string | undefined
  workers: number
  /** False: --no-worker. */
  worker: boolean
  profiles?: string
  insecure?: boolean
  verbose?: boolean
}

export interface UpPlan {
  dataFolder: string
  storeFolder: string
  tokenPath: string
  databaseUrl: string
  /** Told to people: without its password. */
  databaseName: string
  redisUrl: string | undefined
  applications: string[]
  /** Where servers listen, and under which address they reach each other. */
  host: string
  connectHost: string
  httpHost: string
  lan: boolean
  /** Of the gateway, which then speaks HTTPS. */
  certificate: { path: string; keyPath: string } | undefined
  insecure: boolean
  verbose: boolean
  workers: number
  /** Of the media worker; undefined: there is none. */
  worker: { tempFolder: string; profiles: string | undefined } | undefined
  storages: number
  ports: { tracker: number; id: number; storage: number; http: number }
}

/** @throws {UsageError} flags that do not fit together. */
export function planUp(flags: UpFlags, folder: string, lan: string | undefined): UpPlan {
  const { host, storages, workers, insecure = false } = flags
  if (storages < 1 || storages > STORAGES_MAX)
    throw new UsageError(`--storages: 1 to ${STORAGES_MAX} are expected`)
  if (workers < 1 || workers > WORKERS_MAX)
    throw new UsageError(`--workers: 1 to ${WORKERS_MAX} are expected`)
  const applications = flags.apps.split(',').map(app => app.trim())
  for (const app of applications) {
    if (!isName(app) || app.length > APPLICATION_CHARACTERS_MAX) {
      throw new UsageError(`--apps: '${app}' is no application id: 1 to 15 letters or digits are expected`)
    }
  }
  if (!isLoopbackHost(host) && !insecure) {
    throw new UsageError(
      `--host ${host} would let other machines write: add --insecure if that is meant; --lan lets them watch only`
    )
  }
  for (const [flag, port] of Object.entries({
    '--tracker-port': flags.trackerPort,
    '--id-port': flags.idPort,
    '--storage-port': flags.storagePort === 0 ? 0 : flags.storagePort + storages - 1,
    '--http-port': flags.httpPort
  })) {
    if (port > 65_535) throw new UsageError(`${flag}: ports end at 65535`)
  }
  if (flags.redis !== undefined && !/^rediss?:\/\/./.test(flags.redis))
    throw new UsageError('--redis: redis://host:port is expected')
  if ((flags.certificate === undefined) !== (flags.privateKey === undefined))
    throw new UsageError('--certificate and --private-key: both are expected, or neither')
  const dataFolder = resolve(folder, flags.data)
  const databaseUrl =
    flags.database === undefined
      ? `sqlite:${resolve(dataFolder, 'index.db')}`
      : absoluteUrl(flags.database, folder)
  const isWildcard = host === '0.0.0.0' || host === '::'
  return {
    dataFolder,
    storeFolder: resolve(dataFolder, 'stores', GROUP),
    tokenPath: resolve(dataFolder, 'write-token'),
    databaseUrl,
    databaseName: databaseUrl.replace(/^(mysql:\/\/)[^@/]*@/, '$1'),
    redisUrl: flags.redis,
    applications,
    host,
    connectHost: isWildcard ? (lan ?? '127.0.0.1') : host,
    httpHost: flags.lan && isLoopbackHost(host) ? '0.0.0.0' : host,
    lan: flags.lan ?? false,
    certificate:
      flags.certificate === undefined
        ? undefined
        : { path: resolve(folder, flags.certificate), keyPath: resolve(folder, flags.privateKey!) },
    insecure,
    verbose: flags.verbose ?? false,
    workers,
    worker: flags.worker
      ? { tempFolder: resolve(dataFolder, 'worker'), profiles: flags.profiles }
      : undefined,
    storages,
    ports: { tracker: flags.trackerPort, id: flags.idPort, storage: flags.storagePort, http: flags.httpPort }
  }
}

export interface ChildPlan {
  /** `storage 2`, as it is told. */
  name: string
  args: string[]
  env: Record<string, string>
}

export interface Ports {
  tracker: number
  id: number
  storages: number[]
  http: number
}

/** Addresses with passwords go by the environment: arguments can be read by everybody on the machine. */
export function childrenOf(
  plan: UpPlan,
  ports: Ports
): { first: ChildPlan[]; storages: ChildPlan[]; last: ChildPlan[] } {
  const { host, connectHost, databaseUrl, redisUrl } = plan
  const beyond = isLoopbackHost(host) ? [] : ['--allow', 'any', '--insecure']
  const database = (section: string): Record<string, string> => ({
    [`TRIBUTARY_${section}_DATABASE`]: databaseUrl
  })
  const redis = (section: string): Record<string, string> =>
    redisUrl === undefined ? {} : { [`TRIBUTARY_${section}_REDIS`]: redisUrl }
  const trackers = formatHostPort({ host: connectHost, port: ports.tracker })
  const idServers = formatHostPort({ host: connectHost, port: ports.id })
  const listen = (on: string, port: number): string[] => ['--host', on, '--port', String(port)]
  const place = ['--group', GROUP, '--stores', plan.storeFolder]
  const peers = ['--trackers', trackers, '--id-servers', idServers]
  const storageFlags = [...place, ...peers, '--workers', String(plan.workers)]
  return {
    first: [
      {
        name: 'tracker',
        args: ['tracker', ...listen(host, ports.tracker), ...beyond],
        env: { ...database('TRACKER'), ...redis('TRACKER') }
      },
      { name: 'id', args: ['id', ...listen(host, ports.id), ...beyond], env: database('ID') }
    ],
    storages: ports.storages.map((port, index) => ({
      name: `storage ${index + 1}`,
      args: ['storage', ...listen(host, port), ...beyond, ...storageFlags, '--member', `storage${index + 1}`],
      env: { ...database('STORAGE'), ...redis('STORAGE') }
    })),
    last: [
      {
        name: 'gateway',
        args: [
          'gateway',
          ...listen(plan.httpHost, ports.http),
          '--trackers',
          trackers,
          ...gatewayAccess(plan)
        ],
        env: {}
      },
      ...workerOf(plan, trackers)
    ]
  }
}

function workerOf({ worker }: UpPlan, trackers: string): ChildPlan[] {
  if (!worker) return []
  const { tempFolder, profiles } = worker
  const flags = profiles === undefined ? [] : ['--profiles', profiles]
  const args = ['worker', '--trackers', trackers, '--name', 'worker', '--temp-folder', tempFolder, ...flags]
  return [{ name: 'worker', args, env: {} }]
}

function gatewayAccess(plan: UpPlan): string[] {
  const { certificate } = plan
  const app = plan.applications[0] === 'media' ? [] : ['--default-app', plan.applications[0]!]
  if (certificate) app.push('--certificate', certificate.path, '--private-key', certificate.keyPath)
  if (isLoopbackHost(plan.httpHost)) return app
  if (plan.insecure) return [...app, '--allow', 'any', '--insecure']
  return [...app, '--allow', 'private', '--write-token-file', plan.tokenPath]
}
