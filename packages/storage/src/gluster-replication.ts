/**
 * Copies of a GlusterFS volume, as this machine's own client sees them. Every mount shows the state of its client below
 * `.meta` at its root, to any user, at the cost of a few small reads that leave the machine nowhere:
 *
 *   .meta/graphs/active/<volume>-replicate-<n>/private                 child_up[<brick>] = 0 | 1
 *   .meta/graphs/active/<volume>-replicate-<n>/options/arbiter-count   there where the last brick has names only
 *
 * That is exactly what counts for a write through this mount: a brick that runs and cannot be reached from here is no copy.
 * What is still to be healed only root may ask (`gluster volume heal … info summary --xml`): root leaves the answer in a file.
 */
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { untilCopies, type Copies, type Replication } from './replication.ts'
import { mountOf } from './store-mount.ts'
import type { Volume } from './volume.ts'

/** Without an answer for so long, what was learnt is believed no more. */
const TRUST_MS = 10_000
/** A report that is older says nothing of now. */
const REPORT_AGE_MS_MAX = 600_000
/** More is no such report. */
const REPORT_BYTES_MAX = 1024 * 1024
const REPLICATE = /-replicate-\d+$/

export interface GlusterReplicationOptions {
  volume: Volume
  /** Of the store, without symbolic links. */
  path: string
  /** Default: as many as the volume was made with. */
  wanted: number | undefined
  /** Folder of `<volume>.xml` as root's timer leaves them. */
  reports: string | undefined
}

/** What one report of root's says. */
export interface HealReport {
  /** On the brick that has most of them. */
  unhealedEntries: number
  splitBrainEntries: number
}

export class GlusterReplication implements Replication {
  readonly #options: GlusterReplicationOptions
  #reachable = 0
  #existing = 0
  #knownMs = -Infinity
  /** UNIX time at which a copy was last missing: what a report from before says of healing is too old. */
  #missedMs = 0
  #failure = 'not asked yet'
  #report: HealReport | undefined
  #refreshing: Promise<void> | undefined

  constructor(options: GlusterReplicationOptions) {
    this.#options = options
  }

  copiesNow(): Copies {
    const reachable = this.#isKnown ? this.#reachable : 0
    return { reachable, wanted: this.#options.wanted ?? Math.max(1, this.#existing) }
  }

  isHealed(): boolean | undefined {
    if (!this.#isKnown) return undefined
    if (this.#reachable < this.#existing) return false
    if (!this.#report) return undefined
    return this.#report.unhealedEntries === 0 && this.#report.splitBrainEntries === 0
  }

  unhealedEntries(): number | undefined {
    return this.#report?.unhealedEntries
  }

  trouble(): string | undefined {
    if (!this.#isKnown) return `the copies cannot be counted: ${this.#failure}`
    const { reachable, wanted } = this.copiesNow()
    const split = this.#report?.splitBrainEntries ?? 0
    const texts = [
      reachable < wanted && `${reachable} of ${wanted} copies can be reached`,
      split > 0 && `${split} entries are in split brain`
    ]
    return texts.filter(Boolean).join(', ') || undefined
  }

  waitForCopies(count: number, deadline: AbortSignal): Promise<void> {
    return untilCopies(this, count, deadline)
  }

  refresh(): Promise<void> {
    this.#refreshing ??= this.#learn().finally(() => {
      this.#refreshing = undefined
    })
    return this.#refreshing
  }

  get #isKnown(): boolean {
    return performance.now() - this.#knownMs < TRUST_MS
  }

  async #learn(): Promise<void> {
    const { volume, path, reports } = this.#options
    let mount
    try {
      mount = mountOf(path)
      const { point } = mount
      const counts = await volume.run('copies', () => countCopies(point))
      this.#reachable = counts.reachable
      this.#existing = counts.wanted
      this.#knownMs = performance.now()
      if (counts.reachable < counts.wanted) this.#missedMs = Date.now()
    } catch (error) {
      this.#failure = (error as Error).message
    }
    // It is a file of this machine, not of the volume.
    if (reports !== undefined && mount !== undefined)
      this.#report = await readReport(reports, volumeOf(mount.source), this.#missedMs)
  }
}

/** Of a volume in several parts the part with the fewest copies counts: any file may lie there. */
async function countCopies(point: string): Promise<Copies> {
  const graph = join(point, '.meta', 'graphs', 'active')
  const parts = (await readdir(graph)).filter(name => REPLICATE.test(name))
  const counts: Copies[] = []
  // One after the other: the call has one thread of those that all store paths share.
  for (const name of parts) {
    const state = await readFile(join(graph, name, 'private'), 'utf8')
    const hasArbiter = await stat(join(graph, name, 'options', 'arbiter-count')).then(
      () => true,
      () => false
    )
    counts.push(copiesIn(state, hasArbiter))
  }
  if (counts.length === 0) return { reachable: 1, wanted: 1 } // a volume without mirrors
  return counts.reduce((fewest, part) => (part.reachable < fewest.reachable ? part : fewest))
}

/** @param state Lines as `child_up[0] = 1`, one per brick. The arbiter is the last brick, and no copy. */
export function copiesIn(state: string, hasArbiter: boolean): Copies {
  const up = [...state.matchAll(/^child_up\[\d+\] = (\d+)$/gm)].map(([, value]) => value === '1')
  const copies = hasArbiter ? up.slice(0, -1) : up
  if (copies.length === 0) throw new Error('the client does not say which bricks it reaches')
  return { reachable: copies.filter(Boolean).length, wanted: copies.length }
}

/** `host:/volume` or `host:/volume/folder`. */
function volumeOf(source: string): string {
  return source.slice(source.indexOf(':/') + 2).split('/')[0]!
}

async function readReport(folder: string, volume: string, sinceMs: number): Promise<HealReport | undefined> {
  const path = join(folder, `${volume}.xml`)
  try {
    const { mtimeMs, size } = await stat(path)
    if (mtimeMs < sinceMs || Date.now() - mtimeMs > REPORT_AGE_MS_MAX || size > REPORT_BYTES_MAX)
      return undefined
    return healReportOf(await readFile(path, 'utf8'))
  } catch {
    return undefined // none yet
  }
}

/** Reads `gluster volume heal <volume> info summary --xml`; undefined: a brick did not answer, or it is something else. */
export function healReportOf(xml: string): HealReport | undefined {
  const bricks = [...xml.matchAll(/<brick\b[^>]*>([\s\S]*?)<\/brick>/g)].map(([, text = '']) => text)
  const numbers = (name: string): number[] =>
    bricks.flatMap(brick => {
      const found = new RegExp(`<${name}>(\\d+)</${name}>`).exec(brick)
      return found ? [Number(found[1])] : []
    })
  const entries = numbers('totalNumberOfEntries')
  if (bricks.length === 0 || entries.length !== bricks.length) return undefined
  return {
    unhealedEntries: Math.max(...entries),
    splitBrainEntries: Math.max(0, ...numbers('numberOfEntriesInSplitBrain'))
  }
}
