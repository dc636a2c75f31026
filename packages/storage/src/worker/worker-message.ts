/** What the main process of a storage server and its data workers say to each other. */
import type { MeterSnapshot } from '@tributary/runtime'
import type { ScrubReport } from '../scrubber.ts'
import type { StorageConfig } from '../storage-config.ts'

/** worker → main: started, and wants to know what to do. */
export interface AskMessage {
  type: 'ask'
}

/** main → worker */
export interface OrderMessage {
  type: 'order'
  config: StorageConfig
  /** Host and port to listen on, shared with the other workers. */
  host: string
  port: number
  /** 0 … workers - 1; 0 also does the housekeeping. */
  index: number
  member: string
  hostName: string
  version: string
  /** Start even where no store path is there: the server ran before, and they may come back. */
  waitsForStores: boolean
}

/** main → worker: the same configuration, with its reloadable keys as they are now. */
export interface ReloadMessage {
  type: 'reload'
  config: StorageConfig
}

export interface StoreReport {
  root: string
  /** Its UUID; empty while it could not be opened. */
  store: string
  local: boolean
  freeBytes: number
  totalBytes: number
  /** Why it is out of use, or undefined. */
  trouble: string | undefined
  /** undefined: nobody is known to mirror it. */
  replication: ReplicationReport | undefined
}

export interface ReplicationReport {
  copies: number
  copiesWanted: number
  /** Fewer than is safe. */
  degraded: boolean
  /** Why it takes no uploads and deletes, or undefined. */
  refusal: string | undefined
  /** What is wrong with the copies, in words, or undefined. */
  trouble: string | undefined
  healed: boolean | undefined
  unhealedEntries: number | undefined
}

/** worker → main, every second, and when a store path goes out of use or comes back. */
export interface ReportMessage {
  type: 'report'
  meter: MeterSnapshot
  stores: StoreReport[]
  database: { ok: boolean; reason: string }
  residentBytes: number
  /** Since the worker's start. */
  cpuSeconds: number
  sweep: SweepReport | undefined
  /** Of the worker that does the housekeeping, a store path each. */
  scrubs: ScrubReport[]
  /** Reads since the worker's start that met other content than was stored. */
  checksumMismatches: number
  /** Clients that are in the middle of a transfer, or wait for long. */
  transfers: number
}

export interface SweepReport {
  atMs: number
  /** Files without a row, seen for the first time or again. */
  orphans: number
  moved: number
  /** It refused to move anything. */
  alert: string | undefined
}

export type WorkerMessage = AskMessage | ReportMessage

export function isWorkerMessage(message: unknown): message is WorkerMessage {
  const type = (message as { type?: unknown } | null)?.type
  return type === 'ask' || type === 'report'
}

export function isOrder(message: unknown): message is OrderMessage {
  return (message as { type?: unknown } | null)?.type === 'order'
}

export function isReload(message: unknown): message is ReloadMessage {
  return (message as { type?: unknown } | null)?.type === 'reload'
}
