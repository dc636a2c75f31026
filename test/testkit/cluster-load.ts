/** Clients of every kind at work on a cluster, and the ledger of what they were promised. */
import { setTimeout as sleep } from 'node:timers/promises'
import { formatFileKey, type FileKey } from '@tributary/protocol'
import { contentOf, someSize, type Random } from '../faults/random.ts'
import { Failure, type Door } from './door.ts'

const APPLICATION = 'media'
const PAUSE_MS = 20
/** Of one report; more would say nothing new. */
const BROKEN_SHOWN = 20
/** Of 20 operations; the rest are reads, every third of them of a range. */
const UPLOADS = 7
const DELETES = 2
/** Of a deleted file's name, for new content. */
const UPLOADS_AGAIN = 1
const RANGED = 3
const OPERATIONS = 20

/** `storing`, `deleting`: asked for, and nobody knows. */
type State = 'storing' | 'stored' | 'refused' | 'deleting' | 'deleted'

interface Entry {
  readonly key: FileKey
  sizeBytes: number
  /** Counts uploads under this name: each has content of its own. */
  edition: number
  state: State
}

export interface Phase {
  uploads: number
  reads: number
  deletes: number
  /** How often which failure reached a client of the library. */
  failures: Record<string, number>
  /** The same for those that speak HTTP. */
  httpFailures: Record<string, number>
  slowestMs: number
}

export type Operation = 'upload' | 'read' | 'delete'

export interface Outcome {
  operation: Operation
  door: Door
  startMs: number
  /** What went wrong; undefined: nothing. */
  failure: Failure | undefined
}

export interface ClusterLoadOptions {
  /** A client for each; a door may stand here several times. */
  doors: readonly Door[]
  random: Random
  users: readonly string[]
  /** Of each client between two operations. */
  pauseMs?: number
  /** Told of every operation that has ended. */
  onOutcome?: (outcome: Outcome) => void
}

export interface Verdict {
  whole: number
  absent: number
}

export class ClusterLoad {
  readonly users: readonly string[]
  #doors: readonly Door[]
  readonly #random: Random
  readonly #pauseMs: number
  readonly #onOutcome: (outcome: Outcome) => void
  readonly #entries: Entry[] = []
  #broken: string[] = []
  #running: Promise<unknown> | undefined
  #stopping = false
  #phase = emptyPhase()

  constructor({ doors, random, users, pauseMs = PAUSE_MS, onOutcome = () => {} }: ClusterLoadOptions) {
    this.users = users
    this.#doors = doors
    this.#random = random
    this.#pauseMs = pauseMs
    this.#onOutcome = onOutcome
  }

  /** The same cluster, started again at other addresses. */
  moveTo(doors: readonly Door[]): void {
    this.#doors = doors
  }

  get stored(): number {
    return this.#count('stored')
  }

  get deleted(): number {
    return this.#count('deleted')
  }

  /** Uploads and deletes of which nobody knows what became. */
  get unknown(): number {
    return this.#count('storing') + this.#count('deleting')
  }

  start(): void {
    this.#stopping = false
    this.#phase = emptyPhase()
    this.#running = Promise.all(this.#doors.map(door => this.#work(door)))
  }

  /** Waits for what is in hand. @returns what happened since `start`. @throws a promise was broken. */
  async stop(): Promise<Phase> {
    await this.settle()
    this.#throwIfBroken()
    return this.#phase
  }

  /** No new operation begins; resolves when all have ended. */
  async settle(): Promise<void> {
    this.#stopping = true
    await this.#running
    this.#running = undefined
  }

  /** Loads the cluster while `body` does its worst. */
  async during<T>(body: () => Promise<T>): Promise<[T, Phase]> {
    this.start()
    try {
      const result = await body()
      return [result, await this.stop()]
    } finally {
      await this.settle()
    }
  }

  /** Reads every file back, a part of them through each door, and compares with what was promised. */
  async verify(): Promise<Verdict> {
    const verdict: Verdict = { whole: 0, absent: 0 }
    const turns = this.#doors.map(async (door, turn) => {
      for (let at = turn; at < this.#entries.length; at += this.#doors.length)
        verdict[await this.#check(door, this.#entries[at]!)]++
    })
    await Promise.all(turns)
    this.#throwIfBroken()
    return verdict
  }

  /**
   * Reads every file back through this one door. What nobody knew of is known afterwards, and must be the same through
   * whichever door comes next.
   *
   * @param readers files at a time
   * @param isHere  which files are looked for there
   */
  async verifyThrough(
    door: Door,
    readers: number,
    isHere: (key: FileKey) => boolean = () => true
  ): Promise<Verdict> {
    const verdict: Verdict = { whole: 0, absent: 0 }
    const left = this.#entries.filter(({ key }) => isHere(key))
    const turns = Array.from({ length: readers }, async () => {
      for (let entry = left.pop(); entry; entry = left.pop()) {
        const found = await this.#check(door, entry)
        verdict[found]++
        if (entry.state === 'storing' || entry.state === 'deleting')
          entry.state = found === 'whole' ? 'stored' : 'deleted'
      }
    })
    await Promise.all(turns)
    return verdict
  }

  /** Files that are there. */
  get storedKeys(): FileKey[] {
    return this.#entries.filter(({ state }) => state === 'stored').map(({ key }) => key)
  }

  /** Promises broken since this was last asked, as sentences. */
  takeBroken(): string[] {
    return this.#broken.splice(0)
  }

  #throwIfBroken(): void {
    const broken = this.takeBroken()
    if (broken.length > 0)
      throw new Error(`promises were broken:\n${broken.slice(0, BROKEN_SHOWN).join('\n')}`)
  }

  #count(state: State): number {
    return this.#entries.filter(entry => entry.state === state).length
  }

  async #work(door: Door): Promise<void> {
    while (!this.#stopping) {
      const startMs = performance.now()
      await this.#operate(door)
      this.#phase.slowestMs = Math.max(this.#phase.slowestMs, performance.now() - startMs)
      await sleep(this.#pauseMs)
    }
  }

  async #operate(door: Door): Promise<void> {
    const kind = this.#random.below(OPERATIONS)
    const stored = this.#entries.filter(({ state }) => state === 'stored')
    if (kind < UPLOADS || stored.length === 0) return this.#upload(door, this.#newEntry())
    if (kind < UPLOADS + UPLOADS_AGAIN) {
      const deleted = this.#entries.filter(({ state }) => state === 'deleted')
      return this.#upload(
        door,
        deleted.length > 0 ? this.#again(this.#random.pick(deleted)) : this.#newEntry()
      )
    }
    const entry = this.#random.pick(stored)
    return kind < UPLOADS + UPLOADS_AGAIN + DELETES ? this.#delete(door, entry) : this.#read(door, entry)
  }

  #newEntry(): Entry {
    const user = this.#random.pick(this.users)
    const key = { application: APPLICATION, user, file: `file-${this.#entries.length}` }
    const entry: Entry = { key, sizeBytes: someSize(this.#random), edition: 0, state: 'storing' }
    this.#entries.push(entry)
    return entry
  }

  #again(entry: Entry): Entry {
    entry.state = 'storing'
    entry.edition++
    entry.sizeBytes = someSize(this.#random)
    return entry
  }

  async #upload(door: Door, entry: Entry): Promise<void> {
    this.#phase.uploads++
    const failure = await this.#ask('upload', door, () => door.upload(entry.key, contentOfEntry(entry)))
    if (!failure) entry.state = 'stored'
    else if (failure.code === 'FILE_EXISTS')
      this.#broken.push(
        `${nameOf(entry)} is new, and its upload through ${door.name} ended with ${failure.message}`
      )
    if (failure && !isUnknown(failure)) entry.state = 'refused'
  }

  async #read(door: Door, entry: Entry): Promise<void> {
    this.#phase.reads++
    const before = { ...entry }
    const range = this.#random.below(RANGED) === 0 ? rangeOf(this.#random, entry.sizeBytes) : undefined
    let found: Buffer | undefined
    const failure = await this.#ask(
      'read',
      door,
      async () => {
        found = await door.read(entry.key, range)
      },
      () => entry.state !== 'stored' || entry.edition !== before.edition
    )
    const isTheSame = entry.state === 'stored' && entry.edition === before.edition
    if (failure?.code === 'FILE_NOT_FOUND' && isTheSame)
      this.#broken.push(`${nameOf(entry)} is stored, and was not found through ${door.name}`)
    if (!found || isPart(found, before, range)) return
    // Deleted meanwhile, and another content uploaded under its name.
    if (!isTheSame && isPart(found, entry, range)) return
    const wanted = range ? `bytes ${range.start}-${range.end}` : 'bytes'
    this.#broken.push(
      `${nameOf(before)} gave ${found.byteLength} bytes through ${door.name} that are not its ${wanted} of ${before.sizeBytes}`
    )
  }

  async #delete(door: Door, entry: Entry): Promise<void> {
    this.#phase.deletes++
    entry.state = 'deleting'
    const failure = await this.#ask('delete', door, () => door.delete(entry.key))
    if (!failure) entry.state = 'deleted'
    else if (failure.code === 'FILE_NOT_FOUND')
      this.#broken.push(`${nameOf(entry)} is stored, and was not found to be deleted through ${door.name}`)
    // A refusal is a promise as well: nothing was done, and the file must be there.
    if (failure && !isUnknown(failure)) entry.state = 'stored'
  }

  async #check(door: Door, entry: Entry): Promise<keyof Verdict> {
    const { sizeBytes, state } = entry
    const name = `${nameOf(entry)} (${state}) through ${door.name}`
    let found: Buffer
    try {
      found = await door.read(entry.key)
    } catch (error) {
      if (!(error instanceof Failure)) throw error
      if (error.code !== 'FILE_NOT_FOUND') this.#broken.push(`${name} cannot be read: ${error.message}`)
      else if (state === 'stored') this.#broken.push(`${name} was acknowledged and is gone`)
      return 'absent'
    }
    if (!found.equals(contentOfEntry(entry))) {
      this.#broken.push(`${name} is not what was sent: ${found.byteLength} of ${sizeBytes} bytes`)
    } else if (state === 'deleted') this.#broken.push(`${name} was deleted and is there`)
    else if (state === 'refused') this.#broken.push(`${name} was refused and is there`)
    return 'whole'
  }

  /** @param isNoFailure whether "not found" is a true answer by now */
  async #ask(
    operation: Operation,
    door: Door,
    work: () => Promise<void>,
    isNoFailure: () => boolean = () => false
  ): Promise<Failure | undefined> {
    const startMs = performance.now()
    try {
      await work()
      this.#onOutcome({ operation, door, startMs, failure: undefined })
      return undefined
    } catch (error) {
      if (!(error instanceof Failure)) throw error
      const isTrue = isNoFailure() && (error.code === 'FILE_NOT_FOUND' || error.code === 'BAD_RANGE')
      this.#onOutcome({ operation, door, startMs, failure: isTrue ? undefined : error })
      if (isTrue) return error
      const failures = door.kind === 'http' ? this.#phase.httpFailures : this.#phase.failures
      failures[error.code] = (failures[error.code] ?? 0) + 1
      return error
    }
  }
}

/** The request may have been carried out. */
const isUnknown = ({ code }: Failure): boolean => ['OUTCOME_UNKNOWN', 'broken', 'no answer'].includes(code)

const contentOfEntry = ({ key, edition, sizeBytes }: Entry): Buffer =>
  contentOf(edition === 0 ? key.file : `${key.file}#${edition}`, sizeBytes)

const nameOf = ({ key, edition }: Entry): string =>
  edition === 0 ? formatFileKey(key) : `${formatFileKey(key)} (upload ${edition + 1})`

/** Of an empty file no range can be had. */
function rangeOf(random: Random, sizeBytes: number): { start: number; end: number } | undefined {
  if (sizeBytes === 0) return undefined
  const start = random.below(sizeBytes)
  return { start, end: start + random.below(sizeBytes - start) }
}

function isPart(found: Buffer, entry: Entry, range: { start: number; end: number } | undefined): boolean {
  const content = contentOfEntry(entry)
  return found.equals(range ? content.subarray(range.start, range.end + 1) : content)
}

export function describePhase({ uploads, reads, deletes, failures, httpFailures, slowestMs }: Phase): string {
  const listed = (counts: Record<string, number>, where: string): string[] =>
    Object.entries(counts).map(([code, count]) => `${count} ${code}${where}`)
  const text = [...listed(failures, ''), ...listed(httpFailures, ' by HTTP')]
  return `${uploads} uploads, ${reads} reads, ${deletes} deletes; failed: ${text.join(', ') || 'none'}; slowest ${(slowestMs / 1000).toFixed(1)} s`
}

function emptyPhase(): Phase {
  return { uploads: 0, reads: 0, deletes: 0, failures: {}, httpFailures: {}, slowestMs: 0 }
}
