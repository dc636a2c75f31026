/** Resident memory with many slow transfers in flight. */
import { setTimeout as sleep } from 'node:timers/promises'
import { processTree, residentBytes } from './children.ts'
import type { HoldTask } from './task.ts'
import type { Workshop } from './workshop.ts'

const TRANSFERS = 100
const LIMIT_MB = 200
const SAMPLE_MS = 200
/** 100 uploads are promised their room: a whole gigabyte each is more than the disk of many a machine has. */
const UPLOAD_BYTES = 64 * 1024 * 1024

export interface MemoryRow {
  title: string
  process: string
  idleMb: number
  peakMb: number
  limitMb: number
}

export async function measureMemory(
  shop: Workshop,
  holdMs: number,
  signal: AbortSignal
): Promise<MemoryRow[]> {
  const { disk, gateway } = await shop.freshServers()
  const [storageMain, worker] = processTree(disk.pid)
  const rows: MemoryRow[] = []
  const cases: [title: string, direction: HoldTask['direction'], bytes: number][] = [
    ['DOWNLOAD', 'download', shop.bigBytes],
    ['UPLOAD', 'upload', UPLOAD_BYTES],
    ['HTTP GET', 'http-download', shop.bigBytes],
    ['HTTP PUT', 'http-upload', UPLOAD_BYTES]
  ]
  for (const [title, direction, bytes] of cases) {
    signal.throwIfAborted()
    const watched = new Map([['storage worker', worker!]])
    if (direction.startsWith('http')) watched.set('gateway', gateway.pid)
    else watched.set('storage main', storageMain!)
    const idle = new Map([...watched].map(([name, pid]) => [name, residentBytes(pid)]))
    const peak = new Map(idle)
    const state = { done: false }
    const target = direction.startsWith('http') ? gateway.target : disk.target
    const holding = shop.generator
      .run({ kind: 'hold', direction, target, connections: TRANSFERS, bytes, holdMs })
      .finally(() => (state.done = true))
    while (!state.done) {
      for (const [name, pid] of watched) peak.set(name, Math.max(peak.get(name)!, residentBytes(pid)))
      await Promise.race([sleep(SAMPLE_MS), holding])
    }
    await holding
    for (const name of watched.keys()) {
      rows.push({
        title: `${TRANSFERS} slow ${title} of ${Math.round(bytes / 2 ** 20)} MiB`,
        process: name,
        idleMb: idle.get(name)! / 1e6,
        peakMb: peak.get(name)! / 1e6,
        limitMb: LIMIT_MB
      })
    }
  }
  return rows
}
