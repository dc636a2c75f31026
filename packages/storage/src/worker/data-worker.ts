/** A data worker: owns client connections and file I/O of one storage server; several may share its port. */
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { openDatabase, type Database } from '@tributary/database'
import { commandNamesOf, UnavailableError, type CommandName } from '@tributary/protocol'
import { allowListOf, LogThrottle, RequestMeter, type Log } from '@tributary/runtime'
import { FrameServer, PeerPool } from '@tributary/transport'
import { Adoption } from '../adoption.ts'
import { Applications } from '../applications.ts'
import { syncFileSystem } from '../checkpoint.ts'
import { Departures } from '../departures.ts'
import { Deletion } from '../deletion.ts'
import { highestIdOnDisk } from '../disk-walk.ts'
import { FileRelay } from '../file-relay.ts'
import { PieceBuffers } from '../file-reply.ts'
import { IdSource } from '../id-source.ts'
import { Journal } from '../journal.ts'
import { MediaTypeFinder } from '../media-type-finder.ts'
import { Neighbours } from '../neighbours.ts'
import { OpenFiles } from '../open-files.ts'
import { leftoverWriters, recover, TEMPORARY_FOLDER } from '../recovery.ts'
import { REDO_FOLDER, RedoLog, removeRedoFolder } from '../redo-log.ts'
import { SmallUploads } from '../small-uploads.ts'
import { storageHandlers } from '../storage-handlers.ts'
import { makeStoreDirectory } from '../store-directory.ts'
import { readMarker } from '../store-marker.ts'
import { Store } from '../store.ts'
import { Sweeper } from '../sweeper.ts'
import { lockWriter, type WriterLock } from '../writer-lock.ts'
import { POOL_THREADS, REMOTE_CALLS_MAX, Volume } from '../volume.ts'
import type { OrderMessage, ReportMessage, StoreReport, SweepReport } from './worker-message.ts'

/** Threads that calls on non-local volumes may hold together: the others stay for local files and name look-ups. */
const REMOTE_THREADS_MAX = POOL_THREADS / 2
const MEASURE_INTERVAL_MS = 1_000
/** So long after its move at most a file is still taken from its old place. */
const DEPARTURES_INTERVAL_MS = 1_000
const FINISH_DELETES_INTERVAL_MS = 30_000
const QUERY_TIMEOUT_MS = 1_800
const PING_TIMEOUT_MS = 2_000
const CALL_ID_CONNECTIONS_MAX = 4

/** What the process takes of the machine. */
export interface ProcessUsage {
  residentBytes: () => number
  /** User and system time since its start. */
  cpuSeconds: () => number
}

interface Place {
  store: Store
  small: SmallUploads | undefined
}

export class DataWorker {
  readonly #order: OrderMessage
  readonly #log: Log
  readonly #meter = new RequestMeter<CommandName | 'UNKNOWN'>([...commandNamesOf('storage'), 'UNKNOWN'])
  readonly #places: Place[] = []
  readonly #timers: NodeJS.Timeout[] = []
  readonly #locks: WriterLock[] = []
  readonly #usage: ProcessUsage
  #database: Database | undefined
  #ids: PeerPool | undefined
  #files: OpenFiles | undefined
  #neighbours: Neighbours | undefined
  #adoption: Adoption | undefined
  #mediaTypes: MediaTypeFinder | undefined
  #server: FrameServer<'storage'> | undefined
  #databaseState = { ok: true, reason: '' }
  #sweep: SweepReport | undefined
  #stopping = false
  #stopped: Promise<void> | undefined

  constructor(order: OrderMessage, log: Log, usage: ProcessUsage) {
    this.#order = order
    this.#log = log
    this.#usage = usage
  }

  async start(): Promise<void> {
    const { config, hostName, version, host, port } = this.#order
    const throttle = new LogThrottle(this.#log)
    this.#database = await openDatabase(config.database, {
      queryTimeoutMs: QUERY_TIMEOUT_MS,
      ...(config.redis === undefined ? {} : { cache: { redisUrl: config.redis } }),
      onEvent: ({ level, text }) => (level === 'info' ? this.#log.info(text) : throttle.warn(text, {}, text))
    })
    const cluster = await this.#database.clusterId()
    const greeting = { role: 'storage' as const, cluster, version }
    this.#ids = new PeerPool({ role: 'id', greeting, connectionsPerPeerMax: CALL_ID_CONNECTIONS_MAX })
    for (const root of config.stores) this.#places.push(await this.#openStore(root, cluster))

    const index = this.#database.files
    const stores = new Map(this.#places.map(({ store }) => [store.uuid, store]))
    this.#files = new OpenFiles(index, stores)
    this.#mediaTypes = new MediaTypeFinder(this.#files, index)
    const deletion = new Deletion(index, stores, this.#files)
    this.#neighbours = new Neighbours(config.trackers, greeting)
    const neighbours = this.#neighbours
    const { moves } = this.#database
    const choose = (sizeBytes: number): Place => this.#choose(sizeBytes)
    this.#adoption = new Adoption({ index, moves, stores, neighbours, choose })
    const allowed = allowListOf(config)
    this.#server = new FrameServer({
      role: 'storage',
      hostName,
      greeting,
      handlers: storageHandlers({
        index,
        files: this.#files,
        deletion,
        applications: new Applications(this.#database.routes),
        mediaTypes: this.#mediaTypes,
        buffers: new PieceBuffers(),
        choose,
        adoption: this.#adoption,
        relay: new FileRelay(neighbours),
        stopping: () => this.#stopping
      }),
      allows: ip => allowed.allows(ip),
      connectionsMax: config.connectionsMax,
      silenceMs: config.silenceS * 1_000,
      stallMs: config.stallS * 1_000,
      observe: this.#meter.observe.bind(this.#meter),
      onFault: err => throttle.warn('fault', { err }, 'a request failed by a fault of this program')
    })
    await this.#server.start({ host, port, reusePort: true })
    this.#every(MEASURE_INTERVAL_MS, () => this.#measure(cluster))
    this.#every(MEASURE_INTERVAL_MS, () => this.#files?.releaseGone())
    if (this.#order.index !== 0) return
    this.#startHousekeeping(deletion)
    const departures = new Departures({
      index,
      moves,
      stores: [...stores.values()],
      open: this.#files,
      neighbours,
      keepMs: config.movedKeepS * 1_000,
      log: this.#log
    })
    this.#every(DEPARTURES_INTERVAL_MS, async () => {
      if (this.#databaseState.ok) await departures.round()
    })
  }

  stop(deadline: AbortSignal): Promise<void> {
    return (this.#stopped ??= this.#stop(deadline))
  }

  report(): ReportMessage {
    const stores: StoreReport[] = this.#places.map(({ store }) => ({
      root: store.root,
      store: store.uuid,
      local: store.volume.local,
      freeBytes: store.freeBytes,
      totalBytes: store.totalBytes,
      trouble: store.trouble
    }))
    return {
      type: 'report',
      meter: this.#meter.snapshot(this.#server?.counts),
      stores,
      database: this.#databaseState,
      residentBytes: this.#usage.residentBytes(),
      cpuSeconds: this.#usage.cpuSeconds(),
      sweep: this.#sweep
    }
  }

  async #openStore(root: string, cluster: string): Promise<Place> {
    const { config, member, index } = this.#order
    const deadlineMs = config.volumeDeadlineS * 1_000
    const callsMax = Math.max(
      1,
      Math.min(REMOTE_CALLS_MAX, Math.floor(REMOTE_THREADS_MAX / config.stores.length))
    )
    const volume = await Volume.open(root, deadlineMs, callsMax)
    const marker = await volume.run('marker', () => readMarker(root, { cluster, group: config.group }))
    const writer = `${member}.${index}`
    const boot = `${Date.now().toString(16)}-${randomUUID().slice(0, 8)}`
    const journal = new Journal(volume, writer)
    const files = this.#database!.files
    const leftovers = await volume.run('leftovers', () => leftoverWriters(root))
    const writers = [...new Set([writer, ...leftovers])].filter(name => this.#adopts(name))
    for (const name of writers) this.#locks.push(await lockWriter(marker.store, name))
    const recovered = await recover({
      volume,
      store: marker.store,
      writers,
      files,
      moves: this.#database!.moves,
      journal,
      log: this.#log
    })
    if (recovered.folders.length > 0 && volume.local) {
      // Rows that were found are perhaps in the page cache only, and the log that brings them back goes now.
      await files.sync()
      await syncFileSystem(root)
    }

    const temporary = join(root, TEMPORARY_FOLDER, writer, boot)
    await volume.run('mkdir', () => makeStoreDirectory(root, join(TEMPORARY_FOLDER, writer, boot)))
    const ids = new IdSource(this.#ids!, config.idServers, marker.store)
    let small: SmallUploads | undefined
    const redo = volume.local
      ? new RedoLog(
          root,
          join(REDO_FOLDER, writer, boot),
          {
            segmentBytes: config.redoBytes,
            allocatesAhead: config.durability === 'disk',
            checkpoint: async () => {
              if (config.durability !== 'disk') return
              await small!.entered()
              await files.sync()
              await syncFileSystem(root)
            },
            onTrouble: err => this.#log.error({ err }, `what was stored in ${root} cannot be brought to disk`)
          },
          recovered.recycled.slice(0, 2)
        )
      : undefined
    for (const folder of recovered.folders) removeRedoFolder(folder)
    const store = new Store({
      marker,
      volume,
      member: writer,
      journal,
      redo,
      ids,
      temporary,
      reserveBytes: config.reserveBytes,
      durable: config.durability === 'disk'
    })
    await store.measure()
    if (redo) small = new SmallUploads(store, redo, files)
    await ids
      .raise((await volume.run('highest id', () => highestIdOnDisk(root))) + 1)
      .catch((err: unknown) => {
        this.#log.warn(
          { err },
          'not every ID server could be told which ids are on disk; names that are taken will be passed over'
        )
      })
    return { store, small }
  }

  /** Leftovers of its own earlier boots; the first worker also takes those of workers that no longer exist. */
  #adopts(writer: string): boolean {
    const { member, index, config } = this.#order
    if (writer === `${member}.${index}`) return true
    if (index !== 0 || !writer.startsWith(`${member}.`)) return false
    const other = Number(writer.slice(member.length + 1))
    return Number.isInteger(other) && other >= config.workers
  }

  #choose(sizeBytes: number): Place {
    let chosen: Place | undefined
    let trouble: string | undefined
    for (const place of this.#places) {
      if (place.store.trouble !== undefined) trouble = place.store.trouble
      else if (!chosen || place.store.freeBytes > chosen.store.freeBytes) chosen = place
    }
    if (!chosen) throw new UnavailableError('STORE_UNAVAILABLE', trouble ?? 'no store path')
    if (chosen.store.freeBytes < sizeBytes) {
      throw new UnavailableError(
        'NO_SPACE',
        `${sizeBytes} bytes do not fit: ${chosen.store.freeBytes} are free above the reserve`
      )
    }
    return chosen
  }

  /** Looks after each store path by itself, so that one that hangs says nothing of the others. */
  #measure(cluster: string): void {
    for (const { store } of this.#places) {
      if (this.#measuring.has(store)) continue
      this.#measuring.add(store)
      const owner = { cluster, group: store.marker.group }
      void store.volume
        .run('marker', () => readMarker(store.root, owner))
        .then(marker => {
          if (marker.store !== store.uuid)
            throw new Error(`${store.root} holds another store: ${marker.store}`)
          return store.measure()
        })
        .then(
          () => this.#setTrouble(store, undefined),
          (error: unknown) => this.#setTrouble(store, `${store.root}: ${(error as Error).message}`)
        )
        .finally(() => this.#measuring.delete(store))
    }
    if (this.#pinging) return
    this.#pinging = true
    void this.#database!.ping(PING_TIMEOUT_MS).then(
      () => this.#setDatabase(true, ''),
      (error: unknown) => this.#setDatabase(false, (error as Error).message)
    )
  }

  readonly #measuring = new Set<Store>()
  #pinging = false

  #setTrouble(store: Store, trouble: string | undefined): void {
    if (store.trouble === trouble) return
    if (trouble === undefined) this.#log.info(`${store.root} is in use again`)
    else if (store.trouble === undefined) this.#log.error(`store path out of use: ${trouble}`)
    store.trouble = trouble
  }

  #setDatabase(ok: boolean, reason: string): void {
    this.#pinging = false
    if (ok !== this.#databaseState.ok) {
      if (ok) this.#log.info('the index answers again')
      else this.#log.error(`the index does not answer: ${reason}`)
    }
    this.#databaseState = { ok, reason }
  }

  #startHousekeeping(deletion: Deletion): void {
    for (const { store } of this.#places) {
      deletion.finishAll(store).then(
        finished => {
          if (finished > 0) this.#log.info({ finished }, 'finished deletes that a crash left half done')
        },
        (err: unknown) => this.#log.warn({ err }, 'deletes left half done are finished later')
      )
    }
    const seen = new Map<Store, Set<string>>()
    this.#every(FINISH_DELETES_INTERVAL_MS, async () => {
      for (const { store } of this.#places) {
        if (!seen.has(store)) seen.set(store, new Set())
        const finished = await deletion.finishHalfDone(store, seen.get(store)!)
        if (finished > 0) this.#log.info({ finished }, 'finished deletes that were left half done')
      }
    })
    const { sweepIntervalH } = this.#order.config
    if (sweepIntervalH === 0) return
    const sweeper = new Sweeper(this.#database!, this.#log)
    this.#every(Math.min(sweepIntervalH * 3_600_000, 2 ** 31 - 1), async () => {
      for (const { store } of this.#places) {
        if (store.trouble !== undefined) continue
        const report = await sweeper.sweep(store)
        // Of several stores the one that needs a look is shown.
        if (report && (report.alert !== undefined || !this.#isAlert(report.atMs))) this.#sweep = report
      }
    })
  }

  /** An alert is shown until the next round. */
  #isAlert(nowMs: number): boolean {
    const { sweepIntervalH } = this.#order.config
    return this.#sweep?.alert !== undefined && nowMs - this.#sweep.atMs < sweepIntervalH * 3_600_000
  }

  #every(intervalMs: number, task: () => void | Promise<void>): void {
    let busy = false
    const timer = setInterval(() => {
      if (busy) return
      busy = true
      Promise.resolve()
        .then(task)
        .catch((err: unknown) => this.#log.warn({ err }, 'housekeeping failed; it is tried again'))
        .finally(() => {
          busy = false
        })
    }, intervalMs)
    this.#timers.push(timer)
  }

  async #stop(deadline: AbortSignal): Promise<void> {
    this.#stopping = true
    for (const timer of this.#timers) clearInterval(timer)
    this.#adoption?.stop()
    await this.#server?.stop(deadline)
    this.#neighbours?.close()
    this.#mediaTypes?.close()
    this.#files?.close()
    for (const { store, small } of this.#places) {
      await small?.idle()
      store.ids.close()
      if (store.redo?.dirty && !store.trouble) await this.#forgetRedo(store, store.redo)
      store.redo?.close()
      await store.journal.close()
    }
    this.#ids?.close()
    await this.#database?.close()
    for (const lock of this.#locks) lock.release()
  }

  /** What is safe elsewhere need not be done again at the next start. */
  async #forgetRedo(store: Store, redo: RedoLog): Promise<void> {
    try {
      if (store.durable) {
        await this.#database?.files.sync()
        await syncFileSystem(store.root)
      }
      redo.clear()
    } catch (err) {
      this.#log.warn({ err }, `the next start in ${store.root} finishes what this one cannot`)
    }
  }
}
