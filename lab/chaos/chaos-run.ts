/** A run of chaos in a lab that is up: busy clients, faults from a seed, then quiet, and the reckoning. */
import { setTimeout as sleep } from 'node:timers/promises'
import { Random } from '../../test/faults/random.ts'
import { machineSlowness } from '../../test/testkit/machine-pace.ts'
import type { Lab } from '../lab.ts'
import { Clients, KINDS, type Kind, type KindReports } from './clients.ts'
import { roundsOf, textOf, type Fault, type Round } from './fault.ts'
import { boundOf, GAP_MS_MAX, judgeGap } from './gap-bounds.ts'
import type { Gap } from './gap-meter.ts'
import { Injector, type Inflicted } from './injector.ts'
import { LOOK_EVERY_MS, Memory } from './memory.ts'
import { Pace, PACE_EVERY_MS } from './pace.ts'
import { checkStores } from './reckoning.ts'
import {
  addTo,
  emptyTotals,
  seconds,
  type ChaosReport,
  type Event,
  type InertFault,
  type UnjudgedGap
} from './report.ts'
import { countRestarts, measureResident, whatLoops } from './resident.ts'
import { untilWhole } from './wholeness.ts'

/** Clients alone, before the first fault: caches fill. */
const WARM_MS = 8_000
/** After a round is mended: Galera copies a node, GlusterFS its files. Slower machines take longer. */
const WHOLE_MS = 120_000
/** Gaps shorter than this are none of the timeline's business. */
const NOTABLE_GAP_MS = 2_000

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
  readonly #faultsByKind: Partial<Record<Fault['kind'], number>> = {}
  readonly #inert: InertFault[] = []
  readonly #unjudged: UnjudgedGap[] = []
  readonly #pace = new Pace()
  readonly #memory = new Memory()
  readonly #end = new AbortController()
  #round = 0
  #faults = 0

  constructor(lab: Lab, clients: Clients, options: ChaosOptions) {
    this.#lab = lab
    this.#clients = clients
    this.#options = options
    this.#injector = new Injector(lab)
  }

  end(): void {
    this.#end.abort()
    this.#clients.end()
  }

  async run(): Promise<ChaosReport> {
    const { minutes, seed, layout } = this.#options
    void this.#again(PACE_EVERY_MS, async () => this.#pace.add(performance.now(), await machineSlowness()))
    await sleep(WARM_MS)
    void this.#again(LOOK_EVERY_MS, () => this.#look())
    this.#take(await this.#clients.report(), [])
    const endMs = performance.now() + minutes * 60_000
    for (const round of roundsOf(new Random(seed), this.#lab.plan)) {
      if (performance.now() > endMs || !(await this.#play(round))) break
    }
    this.#tell('quiet')
    this.#memory.quiet(performance.now())
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
    await this.#look()
    const memory = this.#memory.report()
    const restarts = await countRestarts(this.#lab)
    this.#broken.push(...memory.broken, ...whatLoops(before, restarts, this.#faults))
    return {
      seed,
      layout,
      minutes,
      startedAt: this.#startedAt,
      rounds: this.#round,
      faults: this.#faults,
      faultsByKind: this.#faultsByKind,
      inert: this.#inert,
      slowness: this.#pace.worst,
      meanSlowness: this.#pace.mean,
      unjudged: this.#unjudged,
      kinds: this.#totals,
      ledger,
      verified: doors,
      stores,
      memory: memory.lives,
      restarts,
      timeline: this.#timeline,
      broken: this.#broken,
      verdict: this.#broken.length === 0 ? 'kept' : 'broken'
    }
  }

  /** @returns false where the cluster is not whole again: then nothing more may befall it. */
  async #play({ host, faults, holdMs, restMs }: Round): Promise<boolean> {
    this.#round++
    const inflicted = await Promise.all(faults.map(fault => this.#inflict(host, fault)))
    this.#tell(`${host}: ${inflicted.map(({ text }) => text).join(', ')}; for ${seconds(holdMs)}`)
    await sleep(holdMs)
    this.#tell(`${host}: mended`)
    const mended = await Promise.allSettled(inflicted.map(({ mend }) => mend()))
    for (const result of mended) if (result.status === 'rejected') this.#tell(String(result.reason))
    const isWhole = await this.#waitUntilWhole(faults.map(textOf).join(', '))
    const real = faults.filter((_, at) => inflicted[at]!.inert === undefined)
    this.#take(await this.#clients.report(), real)
    this.#broken.push(...(await this.#clients.broken()))
    if (isWhole) await sleep(restMs)
    return isWhole
  }

  /** Counts what really happened, and only that. */
  async #inflict(host: string, fault: Fault): Promise<Inflicted> {
    const inflicted = await this.#injector.inflict(host, fault)
    const { text, inert: why } = inflicted
    if (why === undefined) {
      this.#faults++
      this.#faultsByKind[fault.kind] = (this.#faultsByKind[fault.kind] ?? 0) + 1
      return inflicted
    }
    this.#inert.push({ round: this.#round, host, text, why })
    return { ...inflicted, text: `${text} (did nothing: ${why})` }
  }

  async #look(): Promise<void> {
    const found = await measureResident(this.#lab)
    this.#memory.look(performance.now(), found)
  }

  /** Until the run ends. */
  async #again(everyMs: number, work: () => Promise<unknown>): Promise<void> {
    const { signal } = this.#end
    while (!signal.aborted) {
      await work()
      await sleep(everyMs, undefined, { signal }).catch(() => {}) // it has ended
    }
  }

  async #waitUntilWhole(after: string): Promise<boolean> {
    const startMs = performance.now()
    try {
      // Slower machines take longer.
      const withinMs = (): number => WHOLE_MS * Math.max(1, this.#pace.between(startMs, performance.now()))
      await untilWhole(this.#lab, this.#clients, withinMs)
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
    const isLinkBad = faults.some(({ kind }) => kind === 'link')
    for (const kind of KINDS) {
      const report = reports[kind]
      if (!isJudged) {
        addTo(this.#totals[kind], { ...report, longestGapMs: 0 }, this.#round)
        continue
      }
      addTo(this.#totals[kind], report, this.#round)
      if (GAP_MS_MAX[kind] === undefined) continue
      if (report.longestGapMs > NOTABLE_GAP_MS) {
        const failed = Object.entries(report.failures).map(([code, times]) => `, ${times} ${code}`)
        this.#tell(`${kind}: a gap of ${seconds(report.longestGapMs)}${failed.join('')}`)
      }
      if (!(isFull && WAITS_FOR_ROOM.has(kind)))
        for (const gap of report.gaps) this.#judge(kind, gap, isLinkBad)
    }
    const failed = Object.entries(reports.read.failures)
    if (failed.length > 0)
      this.#broken.push(
        `round ${this.#round}: reads through the library failed: ${failed.map(([code, times]) => `${times} ${code}`).join(', ')}`
      )
  }

  /** By how slow the machine was just then. */
  #judge(kind: Kind, { ms, endedMsAgo }: Gap, isLinkBad: boolean): void {
    const endMs = performance.now() - endedMsAgo
    const slowness = this.#pace.between(endMs - ms, endMs)
    const verdict = judgeGap(kind, ms, slowness, isLinkBad)
    if (verdict === 'kept') return
    const text = `${kind} had a gap of ${seconds(ms)}, at most ${seconds(boundOf(kind, isLinkBad)!)} on an idle machine; this one was slower by ${slowness.toFixed(1)}`
    if (verdict === 'broken') this.#broken.push(`round ${this.#round}: ${text}`)
    else {
      this.#unjudged.push({ round: this.#round, kind, ms, slowness })
      this.#tell(`not judged: ${text}`)
    }
  }

  #tell(text: string): void {
    const event = { ms: Math.round(performance.now() - this.#startMs), round: this.#round, text }
    this.#timeline.push(event)
    this.#options.onEvent?.(event)
  }
}
