/** A run of chaos in a lab that is up: busy clients, faults from a seed, then quiet, and the reckoning. */
import { setTimeout as sleep } from 'node:timers/promises'
import { Random } from '../../test/faults/random.ts'
import { machineSlowness } from '../../test/testkit/machine-pace.ts'
import type { Lab } from '../lab.ts'
import { Clients, KINDS, type Kind, type KindReports } from './clients.ts'
import { roundsOf, textOf, type Fault, type Round } from './fault.ts'
import { Injector } from './injector.ts'
import { checkStores } from './reckoning.ts'
import { addTo, emptyTotals, seconds, type ChaosReport, type Event } from './report.ts'
import { countRestarts, measureResident, whatGrew, whatLoops } from './resident.ts'
import { untilWhole } from './wholeness.ts'

/** Clients alone, before the first fault: caches fill, and memory is measured then. */
const WARM_MS = 8_000
/** After a round is mended: Galera copies a node, GlusterFS its files. Slower machines take longer. */
const WHOLE_MS = 120_000
/** Gaps shorter than this are none of the timeline's business. */
const NOTABLE_GAP_MS = 2_000

/**
 * Longest gaps that docs/OPERATIONS.md promises, on an idle machine. GlusterFS gives up a silent copy after 5 s (its
 * ping-timeout), and a frozen database node holds writes for Galera's 4 s; both may follow one another. Deletes are asked
 * for so seldom that their gaps say nothing.
 */
const GAP_MS_MAX: Readonly<Partial<Record<Kind, number>>> = {
  read: 10_000,
  upload: 18_000,
  httpRead: 12_000,
  httpUpload: 25_000,
  address: 2_000
}
/** A group whose disk is full refuses uploads, truthfully, until there is room. */
const WAITS_FOR_ROOM: ReadonlySet<Kind> = new Set(['upload', 'httpUpload'])

export interface ChaosOptions {
  readonly minutes: number
  readonly seed: number
  readonly layout: string
  /** Takes each event as it happens. */
  readonly onEvent?: (event: Event) => void
}

export async function runChaos(lab: Lab, options: ChaosOptions): Promise<ChaosReport> {
  const run = new ChaosRun(lab, await Clients.start(lab, options.seed), options)
  try {
    return await run.run()
  } finally {
    run.end()
  }
}

class ChaosRun {
  readonly #lab: Lab
  readonly #clients: Clients
  readonly #options: ChaosOptions
  readonly #injector: Injector
  readonly #startMs = performance.now()
  readonly #startedAt = new Date().toISOString()
  readonly #timeline: Event[] = []
  readonly #broken: string[] = []
  readonly #totals = emptyTotals()
  #round = 0
  #faults = 0
  #slowness = 1

  constructor(lab: Lab, clients: Clients, options: ChaosOptions) {
    this.#lab = lab
    this.#clients = clients
    this.#options = options
    this.#injector = new Injector(lab)
  }

  end(): void {
    this.#clients.end()
  }

  async run(): Promise<ChaosReport> {
    const { minutes, seed, layout } = this.#options
    await sleep(WARM_MS)
    const residentBefore = await measureResident(this.#lab)
    this.#take(await this.#clients.report(), [])
    const endMs = performance.now() + minutes * 60_000
    for (const round of roundsOf(new Random(seed), this.#lab.plan)) {
      if (performance.now() > endMs || !(await this.#play(round))) break
    }
    this.#tell('quiet')
    await this.#clients.quiet()
    this.#take(await this.#clients.report(), [], false)
    await this.#waitUntilWhole('at the end')
    const before = await countRestarts(this.#lab)
    const ledger = await this.#clients.ledger()
    const { doors, broken } = await this.#clients.verify()
    this.#broken.push(...broken)
    this.#tell(`read back through ${doors.length} ways`)
    const stores = await checkStores(this.#lab)
    this.#broken.push(...stores.flatMap(({ broken }) => broken))
    this.#tell('index and disk compared')
    const residentAfter = await measureResident(this.#lab)
    const restarts = await countRestarts(this.#lab)
    this.#broken.push(
      ...whatGrew(residentBefore, residentAfter),
      ...whatLoops(before, restarts, this.#faults)
    )
    return {
      seed,
      layout,
      minutes,
      startedAt: this.#startedAt,
      rounds: this.#round,
      faults: this.#faults,
      slowness: this.#slowness,
      kinds: this.#totals,
      ledger,
      verified: doors,
      stores,
      residentBefore,
      residentAfter,
      restarts,
      timeline: this.#timeline,
      broken: this.#broken,
      verdict: this.#broken.length === 0 ? 'kept' : 'broken'
    }
  }

  /** @returns false where the cluster is not whole again: then nothing more may befall it. */
  async #play({ host, faults, holdMs, restMs }: Round): Promise<boolean> {
    this.#round++
    this.#faults += faults.length
    this.#slowness = Math.max(this.#slowness, await machineSlowness())
    this.#tell(`${host}: ${faults.map(textOf).join(', ')}; for ${seconds(holdMs)}`)
    const mends = await Promise.all(faults.map(fault => this.#injector.inflict(host, fault)))
    await sleep(holdMs)
    this.#tell(`${host}: mended`)
    const mended = await Promise.allSettled(mends.map(mend => mend()))
    for (const result of mended) if (result.status === 'rejected') this.#tell(String(result.reason))
    const isWhole = await this.#waitUntilWhole(faults.map(textOf).join(', '))
    this.#take(await this.#clients.report(), faults)
    this.#broken.push(...(await this.#clients.broken()))
    if (isWhole) await sleep(restMs)
    return isWhole
  }

  async #waitUntilWhole(after: string): Promise<boolean> {
    const startMs = performance.now()
    try {
      await untilWhole(this.#lab, this.#clients, WHOLE_MS * Math.max(1, this.#slowness))
      this.#tell(`whole again after ${seconds(performance.now() - startMs)}`)
      return true
    } catch (error) {
      const text = `not whole ${seconds(performance.now() - startMs)} after ${after}: ${(error as Error).message}`
      this.#tell(text)
      this.#broken.push(text)
      return false
    }
  }

  #take(reports: KindReports, faults: readonly Fault[], isJudged = true): void {
    const isFull = faults.some(({ kind }) => kind === 'disk')
    for (const kind of KINDS) {
      const report = reports[kind]
      if (!isJudged) {
        addTo(this.#totals[kind], { ...report, longestGapMs: 0 }, this.#round)
        continue
      }
      addTo(this.#totals[kind], report, this.#round)
      const boundMs = GAP_MS_MAX[kind]
      if (boundMs === undefined) continue
      if (report.longestGapMs > NOTABLE_GAP_MS) {
        const failed = Object.entries(report.failures).map(([code, times]) => `, ${times} ${code}`)
        this.#tell(`${kind}: a gap of ${seconds(report.longestGapMs)}${failed.join('')}`)
      }
      const maxMs = boundMs * this.#slowness
      if (report.longestGapMs > maxMs && !(isFull && WAITS_FOR_ROOM.has(kind)))
        this.#broken.push(
          `round ${this.#round}: ${kind} had a gap of ${seconds(report.longestGapMs)}, at most ${seconds(maxMs)}`
        )
    }
    const failed = Object.entries(reports.read.failures)
    if (failed.length > 0)
      this.#broken.push(
        `round ${this.#round}: reads through the library failed: ${failed.map(([code, times]) => `${times} ${code}`).join(', ')}`
      )
  }

  #tell(text: string): void {
    const event = { ms: Math.round(performance.now() - this.#startMs), round: this.#round, text }
    this.#timeline.push(event)
    this.#options.onEvent?.(event)
  }
}
