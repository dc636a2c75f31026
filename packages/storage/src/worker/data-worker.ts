/** A data worker: owns client connections and file I/O of one storage server; several may share its port. */
import { randomUUID } from 'node:crypto'
import { realpath, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { openDatabase, SchemaVersionError, type Database } from '@tributary/database'
import { commandNamesOf, formatFileKey, UnavailableError, type CommandName } from '@tributary/protocol'
import {
  allowListOf,
  LogThrottle,
  RequestMeter,
  wireSecurityOf,
  wireServerSecurityOf,
  type Log
} from '@tributary/runtime'
import { FrameServer, PeerPool } from '@tributary/transport'
import { Adoption } from '../adoption.ts'
import { Applications } from '../applications.ts'
import { syncFileSystem } from '../checkpoint.ts'
import { Departures } from '../departures.ts'
import { Trash } from '../trash.ts'
import { Deletion } from '../deletion.ts'
import { highestIdOnDisk } from '../disk-walk.ts'
import { FileRelay } from '../file-relay.ts'
import { PieceBuffers } from '../file-reply.ts'
import { GlusterReplication } from '../gluster-replication.ts'
import { IdSource } from '../id-source.ts'
import { Journal } from '../journal.ts'
import { MediaTypeFinder } from '../media-type-finder.ts'
import { Neighbours } from '../neighbours.ts'
import { OpenFiles } from '../open-files.ts'
import { findExisting } from '../existing-file.ts'
import { PartUploads } from '../part-uploads.ts'
import { PurgeClock } from '../purge-clock.ts'
import { leftoverWriters, recover, TEMPORARY_FOLDER } from '../recovery.ts'
import { REDO_FOLDER, RedoLog, removeRedoFolder } from '../redo-log.ts'
import { SmallUploads } from '../small-uploads.ts'
import { isUploading, storageHandlers } from '../storage-handlers.ts'
import { makeStoreDirectory } from '../store-directory.ts'
import { Scrubber } from '../scrubber.ts'
import { readMarker } from '../store-marker.ts'
import { ANY_MOUNT, checkMount } from '../store-mount.ts'
import { Standstill } from '../standstill.ts'
import { Store } from '../store.ts'
import type { StorageConfig } from '../storage-config.ts'
import { Sweeper } from '../sweeper.ts'
import { lockWriter, type WriterLock } from '../writer-lock.ts'
import { POOL_THREADS, REMOTE_CALLS_MAX, Volume } from '../volume.ts'
import type {
  OrderMessage,
  ReplicationReport,
  ReportMessage,
  StoreReport,
  SweepReport
} from './worker-message.ts'

/** Threads that calls on non-local volumes may hold together: the others stay for local files and name look-ups. */
const REMOTE_THREADS_MAX = POOL_THREADS / 2
const MEASURE_INTERVAL_MS = 1_000
/** A store path is looked at so often: one that went away is out of use, and the trackers know it, within 2 s. */
const LOOK_INTERVAL_MS = 500
/** Copies are counted so often. */
const COPIES_INTERVAL_MS = 1_000
const COPIES_PATIENCE_MS = 2_000
/** A disk that is quiet has synced within this. */
const SYNC_PATIENCE_MS = 250
/** A store path that is not there is tried again so often. */
const OPEN_RETRY_MS = 1_000
const SETTLE_INTERVAL_MS = 5_000
/** So long after its move at most a file is still taken from its old place. */
const DEPARTURES_INTERVAL_MS = 1_000
const FINISH_DELETES_INTERVAL_MS = 30_000
const SWEEP_UPLOADS_INTERVAL_MS = 60_000
const EMPTY_TRASH_INTERVAL_MS = 60_000
/** What is served for so long is a transfer, or hangs. */
const TRANSFER_MS_MIN = 1_000
const QUERY_TIMEOUT_MS = 1_800
const PING_TIMEOUT_MS = 2_000
const CALL_ID_CONNECTIONS_MAX = 4

/** What the process takes of the machine. */
export interface ProcessUsage {
  residentBytes: () => number
  /** User and system time since its start. */
  cpuSeconds: () => number
}

/** What it asks of the process. */
export interface ProcessNeeds {
  /** Report to the main process now, not at the next turn. */
  report: () => void
  /** End, and be started again. */
  restart: () => void
}

interface Place {
  store: Store
  small: SmallUploads | undefined
  /** The root without symbolic links, as the mount table has it. */
  path: string
  mount: string
  /** Number of the file system that was opened. */
  device: number
}

export class DataWorker {
  readonly #order: OrderMessage
  readonly #log: Log
  readonly #meter = new RequestMeter<CommandName | 'UNKNOWN'>([...commandNamesOf('storage'), 'UNKNOWN'])
  readonly #standstill = new Standstill()
  readonly #places: Place[] = []
  readonly #timers: NodeJS.Timeout[] = []
  readonly #locks: WriterLock[] = []
  readonly #usage: ProcessUsage
  readonly #needs: ProcessNeeds
  /** Store paths that could not be opened yet, and why. */
  readonly #absent = new Map<string, string>()
  readonly #probes = new Map<string, Volume>()
  readonly #stores = new Map<string, Store>()
  #database: Database | undefined
  #ids: PeerPool | undefined
  #files: OpenFiles | undefined
  #neighbours: Neighbours | undefined
  #adoption: Adoption | undefined
  #mediaTypes: MediaTypeFinder | undefined
  #uploads: PartUploads | undefined
  #server: FrameServer<'storage'> | undefined
  /** As it is now, in its reloadable keys. */
  #config: OrderMessage['config']
  #databaseState = { ok: true, reason: '' }
  #sweep: SweepReport | undefined
  #scrubber: Scrubber | undefined
  #checksumMismatches = 0
  #stopping = false
  #stopped: Promise<void> | undefined

  constructor(order: OrderMessage, log: Log, usage: ProcessUsage, needs: ProcessNeeds) {
    this.#order = order
    this.#config = order.config
    this.#log = log
    this.#usage = usage
    this.#needs = needs
  }

  /** Takes the reloadable keys over: the certificate of the wire, for new connections. */
  reload(config: OrderMessage['config']): void {
    this.#config = config
    const { tls } = wireSecurityOf(config)
    this.#ids?.useTls(tls)
    this.#neighbours?.useTls(tls)
    const { tls: ofServer } = wireServerSecurityOf(config)
    if (ofServer) this.#server?.useTls(ofServer)
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
    const greeting = { role: 'storage' as const, cluster, version, ...wireSecurityOf(this.#config) }
    this.#ids = new PeerPool({ role: 'id', greeting, connectionsPerPeerMax: CALL_ID_CONNECTIONS_MAX })
    await this.#openStores(cluster)

    const index = this.#database.files
    const absent = (group: string): string | undefined =>
      group === config.group ? this.#absent.values().next().value : undefined
    this.#files = new OpenFiles(index, this.#stores, absent, row => {
      this.#checksumMismatches++
      const fields = { file: formatFileKey(row), path: row.path, store: row.store }
      throttle.error(`mismatch ${row.path}`, fields, 'a read met other content than was stored')
    })
    this.#mediaTypes = new MediaTypeFinder(this.#files, index)
    const deletion = new Deletion(index, this.#stores, this.#files, absent)
    const trash = new Trash(index, this.#stores, this.#files, absent)
    this.#neighbours = new Neighbours(config.trackers, greeting)
    const neighbours = this.#neighbours
    const { moves } = this.#database
    const choose = (sizeBytes: number): Place => this.#choose(sizeBytes)
    this.#adoption = new Adoption({ index, moves, stores: this.#stores, neighbours, choose })
    this.#uploads = new PartUploads({
      uploads: this.#database.uploads,
      index,
      stores: this.#stores,
      choose,
      findExisting: (key, labels, sizeBytes) => findExisting({ index, deletion }, key, labels, sizeBytes),
      keepMs: config.uploadKeepH * 3_600_000
    })
    const allowed = allowListOf(config)
    this.#server = new FrameServer({
      role: 'storage',
      hostName,
      greeting,
      ...wireServerSecurityOf(this.#config),
      handlers: storageHandlers({
        index,
        files: this.#files,
        deletion,
        trash,
        applications: new Applications(this.#database.routes),
        mediaTypes: this.#mediaTypes,
        buffers: new PieceBuffers(),
        choose,
        adoption: this.#adoption,
        uploads: this.#uploads,
        relay: new FileRelay(neighbours),
        stopping: () => this.#stopping
      }),
      isBusy: isUploading,
      distrusts: nowMs => this.#standstill.justEnded(nowMs),
      allows: ip => allowed.allows(ip),
      connectionsMax: config.connectionsMax,
      silenceMs: config.silenceS * 1_000,
      stallMs: config.stallS * 1_000,
      observe: this.#meter.observe.bind(this.#meter),
      onFault: err => throttle.warn('fault', { err }, 'a request failed by a fault of this program')
    })
    await this.#server.start({ host, port, reusePort: true })
    this.#every(LOOK_INTERVAL_MS, () => this.#look(cluster))
    this.#every(MEASURE_INTERVAL_MS, () => this.#ping())
    this.#every(COPIES_INTERVAL_MS, () => this.#countCopies())
    this.#every(OPEN_RETRY_MS, async () => {
      for (const root of this.#absent.keys()) await this.#openLate(root, cluster, deletion)
    })
    this.#every(MEASURE_INTERVAL_MS, () => this.#files?.releaseGone())
    this.#every(SETTLE_INTERVAL_MS, () => this.#settleUploads())
    this.#every(SETTLE_INTERVAL_MS, () => this.#uploads?.settle())
    if (this.#order.index !== 0) return
    this.#startHousekeeping(deletion, trash)
    const departures = new Departures({
      index,
      moves,
      stores: this.#stores,
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
      trouble: store.trouble,
      replication: this.#replicationOf(store)
    }))
    for (const [root, trouble] of this.#absent) {
      stores.push({
        root,
        store: '',
        local: false,
        freeBytes: 0,
        totalBytes: 0,
        trouble,
        replication: undefined
      })
    }
    return {
      type: 'report',
      meter: this.#meter.snapshot(this.#server?.counts),
      stores,
      database: this.#databaseState,
      residentBytes: this.#usage.residentBytes(),
      cpuSeconds: this.#usage.cpuSeconds(),
      sweep: this.#sweep,
      scrubs: this.#scrubber?.reports() ?? [],
      checksumMismatches: this.#checksumMismatches,
      transfers: this.#server?.busySince(performance.now() - TRANSFER_MS_MIN) ?? 0
    }
  }

  #replicationOf(store: Store): ReplicationReport | undefined {
    if (this.#order.config.replication === 'none') return undefined
    const { replication, isDegraded, refusal } = store
    const { reachable, wanted } = replication.copiesNow()
    return {
      copies: reachable,
      copiesWanted: wanted,
      degraded: isDegraded,
      refusal,
      trouble: replication.trouble(),
      healed: replication.isHealed(),
      unhealedEntries: replication.unhealedEntries()
    }
  }

  /**
   * Opens what is there. One store path that is not does not keep the others from being used.
   *
   * @throws the failure of the first one, where none is there: nothing could be served.
   */
  async #openStores(cluster: string): Promise<void> {
    const { config, waitsForStores } = this.#order
    const opened = await Promise.allSettled(config.stores.map(root => this.#openStore(root, cluster)))
    const failures: unknown[] = []
    for (const [at, outcome] of opened.entries()) {
      const root = config.stores[at]!
      if (outcome.status === 'fulfilled') this.#use(outcome.value)
      else {
        failures.push(outcome.reason)
        this.#absent.set(root, troubleOf(root, outcome.reason))
      }
    }
    if (this.#places.length === 0 && !waitsForStores) throw failures[0]
    for (const trouble of this.#absent.values()) {
      this.#log.error(`store path out of use, and tried again until it is there: ${trouble}`)
    }
  }

  async #openLate(root: string, cluster: string, deletion: Deletion): Promise<void> {
    try {
      const place = await this.#openStore(root, cluster)
      if (this.#stopping) return
      this.#absent.delete(root)
      this.#use(place)
      this.#log.info(`${root} is in use`)
      this.#needs.report()
      if (this.#order.index === 0) this.#finishDeletes(place.store, deletion)
      this.#scrubber?.add(place.store)
    } catch (error) {
      const trouble = troubleOf(root, error)
      if (this.#absent.get(root) === trouble) return
      this.#absent.set(root, trouble)
      this.#log.warn(`store path still out of use: ${trouble}`)
    }
  }

  #use(place: Place): void {
    this.#places.push(place)
    this.#stores.set(place.store.uuid, place.store)
  }

  async #openStore(root: string, cluster: string): Promise<Place> {
    const locks: WriterLock[] = []
    try {
      const place = await this.#openLocked(root, cluster, locks)
      this.#locks.push(...locks)
      return place
    } catch (error) {
      for (const lock of locks) lock.release()
      throw error
    }
  }

  async #openLocked(root: string, cluster: string, locks: WriterLock[]): Promise<Place> {
    const { config, member, index } = this.#order
    const mount = mountDemanded(config, root)
    // Before anything touches the path: the kernel's table cannot hang, and the folder beneath is none of ours.
    checkMount(resolve(root), mount)
    const deadlineMs = config.volumeDeadlineS * 1_000
    const callsMax = Math.max(
      1,
      Math.min(REMOTE_CALLS_MAX, Math.floor(REMOTE_THREADS_MAX / config.stores.length))
    )
    const probe = this.#probes.get(root) ?? Volume.probe(root, deadlineMs)
    this.#probes.set(root, probe)
    const volume = await Volume.open(root, deadlineMs, callsMax, probe)
    const path = await volume.run('path', () => realpath(root))
    checkMount(path, mount)
    const marker = await volume.run('marker', () => readMarker(root, { cluster, group: config.group }))
    const { dev: device } = await volume.run('stat', () => stat(root))
    const writer = `${member}.${index}`
    const boot = `${Date.now().toString(16)}-${randomUUID().slice(0, 8)}`
    const journal = new Journal(volume, writer)
    const files = this.#database!.files
    const leftovers = await volume.run('leftovers', () => leftoverWriters(root))
    const writers = [...new Set([writer, ...leftovers])].filter(name => this.#adopts(name))
    for (const name of writers) locks.push(await lockWriter(marker.store, name))
    const recovered = await recover({
      volume,
      store: marker.store,
      writers,
      files,
      moves: this.#database!.moves,
      journal,
      log: this.#log
    })
    // Nobody of an earlier boot writes any more. A schema that knows no such uploads has none.
    for (const name of writers) await this.#database!.uploads.releaseAll(name).catch(ignoreOldSchema)
    const isSettled = !volume.local || (await this.#bringToDisk(root, recovered.folders))

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
              await this.#syncAll(root)
            },
            onTrouble: err => this.#log.error({ err }, `what was stored in ${root} cannot be brought to disk`)
          },
          isSettled ? recovered.recycled.slice(0, 2) : []
        )
      : undefined
    if (isSettled) for (const folder of recovered.folders) removeRedoFolder(folder)
    const store = new Store({
      standstill: this.#standstill,
      marker,
      volume,
      member: writer,
      journal,
      redo,
      ids,
      temporary,
      reserveBytes: config.reserveBytes,
      durable: config.durability === 'disk',
      ...(config.replication === 'glusterfs'
        ? {
            replication: new GlusterReplication({
              volume,
              path,
              wanted: config.copies,
              reports: config.healReports
            })
          }
        : {}),
      refusesDegraded: config.degradedWrites === 'refuse'
    })
    await store.measure()
    await this.#firstCount(store)
    if (redo) small = new SmallUploads(store, redo, files)
    await ids
      .raise((await volume.run('highest id', () => highestIdOnDisk(root))) + 1)
      .catch((err: unknown) => {
        this.#log.warn(
          { err },
          'not every ID server could be told which ids are on disk; names that are taken will be passed over'
        )
      })
    return { store, small, path, mount, device }
  }

  /**
   * Files and rows that were found, or made whole, are perhaps in the page cache only: until they are on disk, the logs that bring
   * them back stay. A disk that has much to write is not waited for: if that is cut short, the next start does it again.
   *
   * @returns whether the logs may go now; else they do so by themselves.
   * @throws {DiskSyncError} at once; later it is logged, and the logs stay.
   */
  async #bringToDisk(root: string, folders: readonly string[]): Promise<boolean> {
    if (folders.length === 0) return true
    const synced = this.#syncAll(root)
    const isSynced = await Promise.race([
      synced.then(() => true),
      sleep(SYNC_PATIENCE_MS, false, { ref: false })
    ])
    if (isSynced) return true
    synced
      .then(() => {
        if (!this.#stopping) for (const folder of folders) removeRedoFolder(folder)
      })
      .catch((err: unknown) => {
        this.#log.error(
          { err },
          `what an earlier run left in ${root} is not on disk; the next start tries again`
        )
      })
    return false
  }

  /** Rows and files that were written before. @throws {DiskSyncError} */
  async #syncAll(root: string): Promise<void> {
    await this.#database?.files.sync()
    await syncFileSystem(root)
  }

  /** A mount that was made a moment ago may reach its bricks one after the other: that is no news for anybody. */
  async #firstCount({ root, replication }: Store): Promise<void> {
    await replication.refresh()
    const { wanted } = replication.copiesNow()
    await replication.waitForCopies(wanted, AbortSignal.timeout(COPIES_PATIENCE_MS)).catch(() => {
      this.#log.warn(`${root}: ${replication.trouble()}`)
    })
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
    let failure: UnavailableError | undefined
    for (const place of this.#places) {
      const { store } = place
      if (store.trouble !== undefined) failure ??= new UnavailableError('STORE_UNAVAILABLE', store.trouble)
      else if (store.refusal !== undefined) failure = new UnavailableError('DEGRADED', store.refusal)
      else if (!chosen || store.freeBytes > chosen.store.freeBytes) chosen = place
    }
    if (!chosen) {
      const [absent = 'no store path'] = this.#absent.values()
      throw failure ?? new UnavailableError('STORE_UNAVAILABLE', absent)
    }
    if (chosen.store.freeBytes < sizeBytes) {
      throw new UnavailableError(
        'NO_SPACE',
        `${sizeBytes} bytes do not fit: ${chosen.store.freeBytes} are free above the reserve`
      )
    }
    return chosen
  }

  /** Looks after each store path by itself, so that one that hangs says nothing of the others. */
  #look(cluster: string): void {
    for (const place of this.#places) {
      const { store, path, mount } = place
      try {
        checkMount(path, mount)
      } catch (error) {
        // Known at once, though calls to the volume that went away may still hang.
        this.#setTrouble(place, troubleOf(store.root, error))
        continue
      }
      if (this.#looking.has(store)) continue
      this.#looking.add(store)
      void this.#check(place, cluster)
        .then(
          () => this.#setTrouble(place, undefined),
          (error: unknown) => this.#setTrouble(place, troubleOf(store.root, error))
        )
        .finally(() => this.#looking.delete(store))
    }
  }

  async #check({ store, path, mount, device }: Place, cluster: string): Promise<void> {
    const owner = { cluster, group: store.marker.group }
    const marker = await store.volume.run('marker', () => readMarker(store.root, owner))
    if (marker.store !== store.uuid) throw new Error(`${store.root} holds another store: ${marker.store}`)
    await store.measure()
    checkMount(path, mount)
    if (store.trouble === undefined) return
    // It is back. Descriptors on a disk that went away are useless, and its redo log is open: all begins anew.
    if (store.volume.local && (await stat(store.root)).dev !== device) {
      this.#log.warn(`${store.root} is on another file system than before: this worker starts again`)
      this.#needs.restart()
    }
  }

  /** Each store path by itself: one that hangs keeps the others' figures as fresh as they are. */
  #countCopies(): void {
    for (const { store } of this.#places) {
      const before = store.replication.trouble()
      void store.replication.refresh().then(() => {
        const trouble = store.replication.trouble()
        if (trouble === before) return
        if (trouble === undefined) this.#log.info(`${store.root}: all copies can be reached`)
        else this.#log.warn(`${store.root}: ${trouble}`)
        this.#needs.report()
      })
    }
  }

  #ping(): void {
    if (this.#pinging) return
    this.#pinging = true
    void this.#database!.ping(PING_TIMEOUT_MS).then(
      () => this.#setDatabase(true, ''),
      (error: unknown) => this.#setDatabase(false, (error as Error).message)
    )
  }

  readonly #looking = new Set<Store>()
  #pinging = false

  #setTrouble({ store }: Place, trouble: string | undefined): void {
    if (store.trouble === trouble) return
    if (trouble === undefined) {
      // Its client may be another process now: what it had open for us is gone.
      if (!store.volume.local) this.#files?.forgetStore(store)
      this.#log.info(`${store.root} is in use again`)
    } else if (store.trouble === undefined) this.#log.error(`store path out of use: ${trouble}`)
    store.trouble = trouble
    this.#needs.report()
  }

  #setDatabase(ok: boolean, reason: string): void {
    this.#pinging = false
    if (ok !== this.#databaseState.ok) {
      if (ok) this.#log.info('the index answers again')
      else this.#log.error(`the index does not answer: ${reason}`)
    }
    this.#databaseState = { ok, reason }
  }

  /** Its own: nobody else knows of them. */
  async #settleUploads(): Promise<void> {
    for (const { store } of this.#places) {
      if (store.unsettled.count === 0) continue
      const moved = await store.unsettled.settle(store, this.#database!.files)
      if (moved === 0) continue
      this.#log.warn(
        { moved },
        `files of uploads that the index did not take were moved to ${store.root}/.lost`
      )
    }
  }

  #startHousekeeping(deletion: Deletion, trash: Trash): void {
    for (const { store } of this.#places) this.#finishDeletes(store, deletion)
    const clock = new PurgeClock()
    const seen = new Map<Store, Set<string>>()
    this.#every(FINISH_DELETES_INTERVAL_MS, async () => {
      for (const { store } of this.#places) {
        if (!seen.has(store)) seen.set(store, new Set())
        const finished = await deletion.finishHalfDone(store, seen.get(store)!)
        if (finished > 0) this.#log.info({ finished }, 'finished deletes that were left half done')
      }
    })
    this.#every(Math.min(SWEEP_UPLOADS_INTERVAL_MS, this.#order.config.uploadKeepH * 3_600_000), async () => {
      for (const { store } of this.#places) {
        const given = await this.#uploads!.sweep(store, clock.nowMs()).catch(ignoreOldSchema)
        if (given) this.#log.info({ uploads: given }, 'uploads that nobody went on with were given up')
      }
    })
    this.#every(EMPTY_TRASH_INTERVAL_MS, async () => {
      const wasDoubted = clock.isDoubted
      clock.nowMs()
      if (clock.isDoubted && !wasDoubted)
        this.#log.warn(
          'the clock has jumped ahead: for an hour nothing is deleted from the trash by what it says'
        )
      for (const { store } of this.#places) {
        const deleted = await trash.deleteExpired(store, deletion, clock.nowMs())
        if (deleted > 0) this.#log.info({ deleted }, 'deleted files whose time in the trash was up')
      }
    })
    const { sweepIntervalH, scrubBytesPerS, scrubIntervalH } = this.#order.config
    if (scrubBytesPerS > 0) {
      const options = { bytesPerS: scrubBytesPerS, intervalMs: scrubIntervalH * 3_600_000 }
      this.#scrubber = new Scrubber(this.#database!, this.#log, options)
      for (const { store } of this.#places) this.#scrubber.add(store)
    }
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

  #finishDeletes(store: Store, deletion: Deletion): void {
    deletion.finishAll(store).then(
      finished => {
        if (finished > 0) this.#log.info({ finished }, 'finished deletes that a crash left half done')
      },
      (err: unknown) => this.#log.warn({ err }, 'deletes left half done are finished later')
    )
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
    this.#standstill.stop()
    for (const timer of this.#timers) clearInterval(timer)
    const scrubbed = this.#scrubber?.stop()
    this.#adoption?.stop()
    await this.#server?.stop(deadline)
    await scrubbed
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
      if (store.durable) await this.#syncAll(store.root)
      redo.clear()
    } catch (err) {
      this.#log.warn({ err }, `the next start in ${store.root} finishes what this one cannot`)
    }
  }
}

function mountDemanded({ mount, stores }: StorageConfig, root: string): string {
  if (!mount) return ANY_MOUNT
  return mount.length === 1 ? mount[0]! : mount[stores.indexOf(root)]!
}

/** Names the path once. */
function troubleOf(root: string, error: unknown): string {
  const text = error instanceof Error ? error.message : String(error)
  return text.includes(root) ? text : `${root}: ${text}`
}

function ignoreOldSchema(error: unknown): void {
  if (!(error instanceof SchemaVersionError)) throw error
}
