/** What scenarios are made of, started when the first of them asks for it and ended together. */
import { closeSync, openSync, writeSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { startMariadb } from '../test/testkit/mariadb.ts'
import { startRedis } from '../test/testkit/redis.ts'
import { startChild, type Child, type Generator } from './children.ts'
import { bigPiece } from './content.ts'
import { startServers, type Servers } from './servers.ts'
import { storeLongFilm } from './long-film.ts'

export interface WorkshopOptions {
  /** On the disk whose speed is measured; removed by whoever made it. */
  folder: string
  generator: Generator
  bigBytes: number
  roundMs: number
  warmUpMs: number
  nodeFlags: readonly string[]
}

interface Stoppable {
  stop(): Promise<unknown>
}

/** Bare programs to compare with, each a process of its own. */
const FLOORS = {
  echo: './floors/echo.ts',
  http: './floors/http.ts',
  pump: './floors/pump.ts',
  segments: './floors/segments.ts',
  gather: './floors/gather.ts',
  'small-upload': './floors/small-upload.ts',
  'durable-upload': './floors/durable-upload.ts'
} as const

export class Workshop {
  readonly folder: string
  readonly generator: Generator
  readonly bigBytes: number
  readonly roundMs: number
  readonly warmUpMs: number
  readonly #nodeFlags: readonly string[]
  readonly #made = new Map<string, Promise<unknown>>()
  readonly #open: Stoppable[] = []
  #sequence = 0

  constructor({ folder, generator, bigBytes, roundMs, warmUpMs, nodeFlags }: WorkshopOptions) {
    this.folder = folder
    this.generator = generator
    this.bigBytes = bigBytes
    this.roundMs = roundMs
    this.warmUpMs = warmUpMs
    this.#nodeFlags = nodeFlags
  }

  /** Another number at each call. */
  sequence(): number {
    return ++this.#sequence
  }

  floor(name: keyof typeof FLOORS, ...args: string[]): Promise<Child> {
    return this.#once([name, ...args].join(' '), () => this.#opened(startChild(FLOORS[name], args)))
  }

  servers(): Promise<Servers> {
    return this.#once('servers', () => this.#start('sqlite', { bigBytes: this.bigBytes }))
  }

  twoWorkerServers(): Promise<Servers> {
    return this.#once('two workers', () => this.#start('two-workers', { bigBytes: 0, workers: 2 }))
  }

  /** Servers of their own, with nothing done before. */
  freshServers(): Promise<Servers> {
    return this.#once('fresh', () => this.#start('fresh', { bigBytes: this.bigBytes }))
  }

  mysqlServers(): Promise<Servers> {
    return this.#once('mysql', async () => {
      const mariadb = await this.#opened(startMariadb())
      const redis = await this.#opened(startRedis())
      return this.#start('mysql', { bigBytes: 0, databaseUrl: mariadb.url, redisUrl: redis.url })
    })
  }

  /** The large file as a file of its own, for the floors. */
  bigFile(): Promise<string> {
    return this.#once('big file', () => {
      const path = join(this.folder, 'big')
      const fd = openSync(path, 'wx', 0o644)
      try {
        for (let offset = 0; offset < this.bigBytes;) {
          offset += writeSync(fd, bigPiece(offset, this.bigBytes - offset))
        }
      } finally {
        closeSync(fd)
      }
      return Promise.resolve(path)
    })
  }

  /** A film of two hours in the servers. @returns the path of its first playlist */
  longFilm(): Promise<string> {
    return this.#once('long film', async () =>
      storeLongFilm(this.folder, (await this.servers()).tracker.target)
    )
  }

  async stop(): Promise<void> {
    for (const thing of this.#open.splice(0).toReversed()) await thing.stop()
  }

  async #start(
    name: string,
    options: { bigBytes: number; workers?: number; databaseUrl?: string; redisUrl?: string }
  ): Promise<Servers> {
    const folder = join(this.folder, name)
    await mkdir(folder)
    return this.#opened(startServers(this.generator, { folder, nodeFlags: this.#nodeFlags, ...options }))
  }

  async #opened<T extends Stoppable>(starting: Promise<T>): Promise<T> {
    const thing = await starting
    this.#open.push(thing)
    return thing
  }

  #once<T>(name: string, make: () => Promise<T>): Promise<T> {
    let made = this.#made.get(name) as Promise<T> | undefined
    if (!made) this.#made.set(name, (made = make()))
    return made
  }
}
