/** Every scenario: what is compared with what, and how much is asked for. */
import { execFile } from 'node:child_process'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { processTree, type Child } from './children.ts'
import type { Subject, Unit } from './measurement.ts'
import type { Servers } from './servers.ts'
import { hotSegments } from './streaming.ts'
import type { ExchangeTask, Target, Task } from './task.ts'
import type { Workshop } from './workshop.ts'

const execute = promisify(execFile)
const SMALL_CONNECTIONS = 16
/** V8 has compiled what is hot by then, as far as the time allows. */
const WARM_UP_REQUESTS = 30_000
/** CPU time is counted in steps of 10 ms: fewer requests would be too coarse on a busy machine. */
const ROUND_REQUESTS = 5_000
const ID_KEY = '2f1c7a52-66b0-4d1e-9f3c-0a5e3c1d7b90'

export interface Scenario {
  name: string
  title: string
  /** What the reference is. */
  floor: string
  unit: Unit
  /** Least ratio per CPU second; undefined: it is only reported. */
  minimum?: number
  group: 'core' | 'mysql' | 'workers'
  subjects: (shop: Workshop) => Promise<{ floor: Subject; ours: Subject }>
}

export const SCENARIOS: readonly Scenario[] = [
  {
    name: 'filesize',
    title: 'FILESIZE',
    floor: 'echo 410 → 18 bytes',
    unit: 'requests',
    minimum: 0.6,
    group: 'core',
    subjects: async shop => ({
      floor: echo(await shop.floor('echo'), shop),
      ours: fileSize(await shop.servers(), shop)
    })
  },
  {
    name: 'saddrs',
    title: 'SADDRS',
    floor: 'echo 410 → 18 bytes',
    unit: 'requests',
    minimum: 0.6,
    group: 'core',
    subjects: async shop => ({
      floor: echo(await shop.floor('echo'), shop),
      ours: addresses(await shop.servers(), shop)
    })
  },
  {
    name: 'id-get',
    title: 'ID_GET',
    floor: 'echo 410 → 18 bytes',
    unit: 'requests',
    minimum: 0.6,
    group: 'core',
    subjects: async shop => {
      const { id } = await shop.servers()
      return {
        floor: echo(await shop.floor('echo'), shop),
        ours: small(shop, id.target, [id], { operation: 'id', key: ID_KEY })
      }
    }
  },
  {
    name: 'download-4k',
    title: 'DOWNLOAD 4 KiB, 64 hot files',
    floor: 'echo 410 → 18 bytes',
    unit: 'requests',
    minimum: 0.5,
    group: 'core',
    subjects: async shop => ({
      floor: echo(await shop.floor('echo'), shop),
      ours: smallDownload(await shop.servers(), shop)
    })
  },
  {
    name: 'upload-4k-page-cache',
    title: 'UPLOAD 4 KiB, page-cache setting',
    floor: 'sync create, write, close, rename',
    unit: 'requests',
    minimum: 0.65,
    group: 'core',
    subjects: async shop => {
      const floor = await shop.floor('small-upload', await freshFolder(shop, 'floor-small-upload'))
      return {
        floor: withSync(shop, small(shop, floor.target, [floor], { operation: 'upload' })),
        ours: withSync(shop, smallUpload(await shop.servers(), 'page', shop))
      }
    }
  },
  {
    name: 'upload-4k-durable',
    title: 'UPLOAD 4 KiB, durable (default)',
    floor: 'journal, one fdatasync for all that wait',
    unit: 'requests',
    minimum: 0.55,
    group: 'core',
    subjects: async shop => {
      const floor = await shop.floor('durable-upload', await freshFolder(shop, 'floor-durable-upload'))
      return {
        floor: withSync(shop, small(shop, floor.target, [floor], { operation: 'upload' })),
        ours: withSync(shop, smallUpload(await shop.servers(), 'disk', shop))
      }
    }
  },
  largeDownload(1),
  largeDownload(4),
  largeUpload('page'),
  largeUpload('disk'),
  resumableUpload(),
  {
    name: 'http-4k',
    title: 'HTTP GET 4 KiB hot, gateway + storage',
    floor: 'node:http answering 4 KiB',
    unit: 'requests',
    minimum: 0.4,
    group: 'core',
    subjects: async shop => {
      const floor = await shop.floor('http')
      const { gateway, disk, tracker } = await shop.servers()
      return {
        floor: small(shop, floor.target, [floor], { operation: 'http' }),
        ours: small(shop, gateway.target, [gateway, disk, tracker], { operation: 'http' })
      }
    }
  },
  {
    name: 'http-1g',
    title: 'HTTP GET 1 GiB, gateway + storage',
    floor: 'pump: readSync 256 KiB, write',
    unit: 'megabytes',
    minimum: 0.4,
    group: 'core',
    subjects: async shop => {
      const floor = await shop.floor('pump', await shop.bigFile())
      const { gateway, disk, tracker } = await shop.servers()
      return {
        floor: download(shop, 'download', floor.target, [floor], 1),
        ours: download(shop, 'http-download', gateway.target, [gateway, disk, tracker], 1)
      }
    }
  },
  {
    name: 'segments',
    title: 'HLS segments of 6 s, hot, 16 connections',
    floor: 'node:http answering as many bytes from memory',
    unit: 'megabytes',
    minimum: 0.5,
    group: 'core',
    subjects: hotSegments
  },
  ...onMysql('filesize', 'FILESIZE', fileSize),
  ...onMysql('download-4k', 'DOWNLOAD 4 KiB, 64 hot files', smallDownload),
  ...onMysql('saddrs', 'SADDRS', addresses),
  ...onMysql('upload-4k-page-cache', 'UPLOAD 4 KiB, page-cache setting', (servers, shop) =>
    withSync(shop, smallUpload(servers, 'page', shop))
  ),
  ...onMysql('upload-4k-durable', 'UPLOAD 4 KiB, durable', (servers, shop) =>
    withSync(shop, smallUpload(servers, 'disk', shop))
  ),
  ...onTwoWorkers('filesize', 'FILESIZE', fileSize),
  ...onTwoWorkers('download-4k', 'DOWNLOAD 4 KiB, 64 hot files', smallDownload),
  ...onTwoWorkers('upload-4k-durable', 'UPLOAD 4 KiB, durable', (servers, shop) =>
    withSync(shop, smallUpload(servers, 'disk', shop))
  )
]

type Operation = Pick<ExchangeTask, 'operation' | 'key'>

/** Small requests to one server; `counted` are the servers whose CPU time counts. */
function small(shop: Workshop, target: Target, counted: readonly Child[], operation: Operation): Subject {
  return {
    pids: () => counted.flatMap(({ pid }) => processTree(pid)),
    task: round => ({
      kind: 'exchange',
      target,
      connections: SMALL_CONNECTIONS,
      durationMs: round < 0 ? shop.warmUpMs : shop.roundMs,
      requestsMin: round < 0 ? WARM_UP_REQUESTS : ROUND_REQUESTS,
      prefix: `up${shop.sequence()}`,
      ...operation
    })
  }
}

function echo(floor: Child, shop: Workshop): Subject {
  return small(shop, floor.target, [floor], { operation: 'size' })
}

function fileSize({ disk }: Servers, shop: Workshop): Subject {
  return small(shop, disk.target, [disk], { operation: 'size' })
}

function addresses({ tracker }: Servers, shop: Workshop): Subject {
  return small(shop, tracker.target, [tracker], { operation: 'addresses' })
}

function smallDownload({ disk }: Servers, shop: Workshop): Subject {
  return small(shop, disk.target, [disk], { operation: 'download' })
}

function smallUpload(servers: Servers, which: 'disk' | 'page', shop: Workshop): Subject {
  const storage = servers[which]
  return small(shop, storage.target, [storage, servers.id], { operation: 'upload' })
}

/** What earlier rounds left in the page cache is written before the next one is measured. */
function withSync(shop: Workshop, subject: Subject): Subject {
  return { ...subject, before: () => syncDisk(shop) }
}

async function syncDisk(shop: Workshop): Promise<void> {
  await execute('sync', ['-f', shop.folder])
}

function download(
  shop: Workshop,
  kind: 'download' | 'http-download',
  target: Target,
  counted: readonly Child[],
  connections: number
): Subject {
  return {
    pids: () => counted.flatMap(({ pid }) => processTree(pid)),
    task: round => ({ kind, target, connections, bytes: shop.bigBytes, verify: round < 0 })
  }
}

function largeDownload(connections: number): Scenario {
  return {
    name: `download-1g-x${connections}`,
    title: `DOWNLOAD 1 GiB, ${connections} connection${connections === 1 ? '' : 's'}`,
    floor: 'pump: readSync 256 KiB, write',
    unit: 'megabytes',
    minimum: 0.85,
    group: 'core',
    subjects: async shop => {
      const floor = await shop.floor('pump', await shop.bigFile())
      const { disk } = await shop.servers()
      return {
        floor: download(shop, 'download', floor.target, [floor], connections),
        ours: download(shop, 'download', disk.target, [disk], connections)
      }
    }
  }
}

function largeUpload(which: 'page' | 'disk'): Scenario {
  const isDurable = which === 'disk'
  return {
    name: isDurable ? 'upload-1g-durable' : 'upload-1g-page-cache',
    title: `UPLOAD 1 GiB, ${isDurable ? 'durable (default)' : 'page-cache setting'}`,
    floor: `gather 1 MiB, crc32, writev${isDurable ? ', fdatasync' : ''}`,
    unit: 'megabytes',
    minimum: 0.85,
    group: 'core',
    subjects: async shop => {
      const folder = await freshFolder(shop, `floor-gather-${which}`)
      const floor = await shop.floor('gather', folder, isDurable ? 'durable' : 'page-cache')
      const servers = await shop.servers()
      const storage = servers[which]
      const subject = (target: Target, counted: readonly Child[], clean: (file: string) => Promise<void>) => {
        let file = ''
        return {
          pids: () => counted.flatMap(({ pid }) => processTree(pid)),
          task: (): Task => {
            file = `large${shop.sequence()}`
            return { kind: 'upload', target, connections: 1, bytes: shop.bigBytes, file, verify: false }
          },
          before: () => syncDisk(shop),
          after: () => clean(file)
        } satisfies Subject
      }
      return {
        floor: subject(floor.target, [floor], async () => {
          await rm(folder, { recursive: true })
          await mkdir(folder)
        }),
        ours: subject(storage.target, [storage, servers.id], async file => {
          await shop.generator.run({
            kind: 'remove',
            target: storage.target,
            file: `${file}-0`,
            bytes: shop.bigBytes
          })
        })
      }
    }
  }
}

/** By tus through the gateway, against one PUT through the same. */
function resumableUpload(): Scenario {
  return {
    name: 'tus-1g',
    title: 'tus upload 1 GiB, gateway + storage, durable',
    floor: 'PUT through the same servers',
    unit: 'megabytes',
    minimum: 0.8,
    group: 'core',
    subjects: async shop => {
      const { gateway, disk, tracker, id } = await shop.servers()
      const subject = (kind: 'http-upload' | 'http-resumable'): Subject => {
        let file = ''
        return {
          pids: () => [gateway, disk, tracker, id].flatMap(({ pid }) => processTree(pid)),
          task: () => {
            file = `${kind}${shop.sequence()}`
            return { kind, target: gateway.target, connections: 1, bytes: shop.bigBytes, file, verify: false }
          },
          before: () => syncDisk(shop),
          after: async () => {
            await shop.generator.run({
              kind: 'remove',
              target: disk.target,
              file: `${file}-0`,
              bytes: shop.bigBytes
            })
          }
        }
      }
      return { floor: subject('http-upload'), ours: subject('http-resumable') }
    }
  }
}

function onMysql(
  name: string,
  title: string,
  subject: (servers: Servers, shop: Workshop) => Subject
): Scenario[] {
  return [
    {
      name: `mysql-${name}`,
      title: `${title}, MariaDB + Redis`,
      floor: 'the same on SQLite',
      unit: 'requests',
      minimum: 0.5,
      group: 'mysql',
      subjects: async shop => ({
        floor: subject(await shop.servers(), shop),
        ours: subject(await shop.mysqlServers(), shop)
      })
    }
  ]
}

function onTwoWorkers(
  name: string,
  title: string,
  subject: (servers: Servers, shop: Workshop) => Subject
): Scenario[] {
  return [
    {
      name: `workers-${name}`,
      title: `${title}, --workers 2`,
      floor: 'the same with --workers 1',
      unit: 'requests',
      group: 'workers',
      subjects: async shop => ({
        floor: subject(await shop.servers(), shop),
        ours: subject(await shop.twoWorkerServers(), shop)
      })
    }
  ]
}

async function freshFolder(shop: Workshop, name: string): Promise<string> {
  const folder = join(shop.folder, `${name}-${shop.sequence()}`)
  await mkdir(folder, { recursive: true })
  return folder
}
