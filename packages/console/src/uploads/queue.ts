/**
 * The queue of uploads: which one is sent now, which waits, and what becomes of each. Knows neither page nor network: what
 * sends is a `Sender`, so that every turn of it can be tested.
 */
import { RateMeter } from '../rate-meter.ts'

/** More at a time only share the same line. */
const AT_ONCE_MAX = 2
/** Between two attempts without a connection; there is no last one. */
const RETRY_MS: readonly number[] = [1_000, 2_000, 4_000, 8_000, 15_000, 30_000]

/**
 * waiting: for its turn. sending. storing: all has left, and the server makes it durable. paused: by the visitor.
 * retrying: there was no connection; goes on by itself. interrupted: from an earlier visit; its file must be chosen again, or is
 * at hand.
 * stored, failed, cancelled: ends.
 */
export type UploadState =
  | 'waiting'
  | 'sending'
  | 'storing'
  | 'paused'
  | 'retrying'
  | 'interrupted'
  | 'stored'
  | 'failed'
  | 'cancelled'

/** What is sent; the browser's File has all of it. */
export interface Content {
  readonly name: string
  readonly size: number
  readonly type: string
  readonly lastModified: number
}

export interface Upload {
  readonly id: number
  readonly name: string
  readonly sizeBytes: number
  readonly lastModified: number
  readonly application: string
  readonly user: string
  readonly state: UploadState
  /** Its file need not be chosen again. */
  readonly isKept: boolean
  readonly doneBytes: number
  /** 0: not known. */
  readonly bytesPerS: number
  /** For people; empty where nothing went wrong. */
  readonly why: string
}

export interface SendReports {
  /** By which the sender finds it again, also at a later visit. */
  known(reference: string): void
  progress(doneBytes: number): void
  stored(): void
  /** @param again  what follows may succeed without anybody's doing. */
  failed(why: string, again: boolean): void
}

export interface Sending {
  /** Stops; what the server has is kept there. */
  pause(): void
  /** Stops, and the server forgets what it has. */
  abandon(): void
}

/** An upload of an earlier visit that the server still knows, or that had not begun. */
export interface Interrupted {
  readonly name: string
  readonly sizeBytes: number
  readonly lastModified: number
  readonly doneBytes: number
  readonly application: string
  readonly user: string
  /** Of the sender; absent: it had not begun. */
  readonly reference?: string
  /** Its file need not be chosen again. */
  readonly isKept?: boolean
}

export interface Sender<Source extends Content> {
  send(
    source: Source,
    place: { application: string; user: string; reference?: string },
    reports: SendReports
  ): Sending
  /** Makes the server forget an upload of an earlier visit. */
  forget(reference: string): void
}

export interface QueueOptions<Source extends Content> {
  sender: Sender<Source>
  /** Runs after each change. */
  onChange(uploads: readonly Upload[]): void
  onStored(upload: Upload): void
  /** It has its file, and waits for its turn. */
  onTaken?(upload: Upload, source: Source): void
  /** Nobody goes on with it: it is stored, was cancelled, or was removed. */
  onOver?(upload: Upload): void
  bytesMax(): number
  /** Sentence for what is larger. */
  tooLarge(): string
  anotherFile(): string
  clock: { nowMs(): number; after(ms: number, work: () => void): () => void }
}

interface Task<Source> {
  id: number
  source: Source | undefined
  name: string
  sizeBytes: number
  application: string
  user: string
  lastModified: number
  reference: string | undefined
  state: UploadState
  isKept: boolean
  doneBytes: number
  why: string
  attempts: number
  rate: RateMeter
  sending: Sending | undefined
  cancelRetry: (() => void) | undefined
}

const ENDS: ReadonlySet<UploadState> = new Set(['stored', 'failed', 'cancelled'])
const ACTIVE: ReadonlySet<UploadState> = new Set(['sending', 'storing'])

export class UploadQueue<Source extends Content> {
  readonly #options: QueueOptions<Source>
  #tasks: Task<Source>[] = []
  #lastId = 0

  constructor(options: QueueOptions<Source>) {
    this.#options = options
  }

  /** Something would be lost if the page were left now. */
  get isBusy(): boolean {
    return this.#tasks.some(({ state }) => ACTIVE.has(state) || state === 'waiting' || state === 'retrying')
  }

  /** Puts files at the end; one that an earlier visit began goes on where it was. */
  add(sources: readonly Source[], place: { application: string; user: string }): void {
    for (const source of sources) {
      const known = this.#tasks.find(task => task.state === 'interrupted' && isSame(task, source))
      if (known) this.#goOn(known, source)
      else {
        const task = this.#task(source, place)
        this.#tasks.push(task)
        if (task.state === 'waiting') this.#options.onTaken?.(shown(task), source)
      }
    }
    this.#next()
  }

  /** Shows what an earlier visit left; each waits for its file. */
  addInterrupted(interrupted: readonly Interrupted[]): void {
    for (const upload of interrupted) {
      const {
        name,
        sizeBytes,
        lastModified,
        doneBytes,
        application,
        user,
        reference,
        isKept = false
      } = upload
      this.#tasks.push({
        ...this.#blank(),
        name,
        sizeBytes,
        lastModified,
        application,
        user,
        reference,
        doneBytes,
        isKept,
        state: 'interrupted'
      })
    }
    this.#changed()
  }

  /** @param source  the file of an interrupted upload, chosen again. */
  resume(id: number, source?: Source): void {
    const task = this.#find(id)
    if (!task) return
    if (task.state === 'interrupted') {
      if (!source) return
      if (isSame(task, source)) this.#goOn(task, source)
      else this.#mislay(task, this.#options.anotherFile())
    } else if (task.state === 'paused' || task.state === 'failed' || task.state === 'retrying') {
      task.cancelRetry?.()
      task.cancelRetry = undefined
      task.why = ''
      task.attempts = 0
      task.state = 'waiting'
    }
    this.#next()
  }

  /** The file of an interrupted upload was not at hand after all: it must be chosen. */
  mislay(id: number, why: string): void {
    const task = this.#find(id)
    if (task?.state !== 'interrupted') return
    this.#mislay(task, why)
    this.#changed()
  }

  pause(id: number): void {
    const task = this.#find(id)
    if (!task || (task.state !== 'sending' && task.state !== 'waiting' && task.state !== 'retrying')) return
    this.#halt(task)?.pause()
    task.state = 'paused'
    this.#next()
  }

  /** Ends it, and nothing of it stays on the server. */
  cancel(id: number): void {
    const task = this.#find(id)
    if (!task || ENDS.has(task.state)) return
    const sending = this.#halt(task)
    if (sending) sending.abandon()
    else if (task.reference !== undefined) this.#options.sender.forget(task.reference)
    task.state = 'cancelled'
    this.#options.onOver?.(shown(task))
    this.#next()
  }

  remove(id: number): void {
    this.#forget(task => task.id === id && ENDS.has(task.state))
  }

  clear(): void {
    this.#forget(({ state }) => ENDS.has(state))
  }

  pauseAll(): void {
    for (const { id } of this.#tasks) this.pause(id)
  }

  resumeAll(): void {
    for (const { id, state } of this.#tasks) if (state === 'paused') this.resume(id)
  }

  /** There is a connection again: nobody waits for the next attempt. */
  online(): void {
    for (const { id, state } of this.#tasks) if (state === 'retrying') this.resume(id)
  }

  /** There is none: what is on its way will not arrive, and a browser may take minutes to notice. */
  offline(): void {
    for (const task of this.#tasks) {
      if (!ACTIVE.has(task.state)) continue
      this.#halt(task)?.pause()
      this.#retry(task)
    }
    this.#next()
  }

  #goOn(task: Task<Source>, source: Source): void {
    task.source = source
    task.why = ''
    task.state = 'waiting'
    this.#options.onTaken?.(shown(task), source)
  }

  #mislay(task: Task<Source>, why: string): void {
    task.isKept = false
    task.why = why
  }

  #forget(which: (task: Task<Source>) => boolean): void {
    for (const task of this.#tasks.filter(which)) this.#options.onOver?.(shown(task))
    this.#tasks = this.#tasks.filter(task => !which(task))
    this.#changed()
  }

  #blank(): Omit<Task<Source>, 'name' | 'sizeBytes' | 'application' | 'user' | 'lastModified'> {
    return {
      id: ++this.#lastId,
      source: undefined,
      reference: undefined,
      state: 'waiting',
      isKept: false,
      doneBytes: 0,
      why: '',
      attempts: 0,
      rate: new RateMeter(),
      sending: undefined,
      cancelRetry: undefined
    }
  }

  #task(source: Source, { application, user }: { application: string; user: string }): Task<Source> {
    const { name, size, lastModified } = source
    const tooLarge = size > this.#options.bytesMax()
    return {
      ...this.#blank(),
      source,
      name,
      sizeBytes: size,
      lastModified,
      application,
      user,
      ...(tooLarge && { state: 'failed' as const, why: this.#options.tooLarge() })
    }
  }

  #next(): void {
    let running = this.#tasks.filter(({ state }) => ACTIVE.has(state)).length
    for (const task of this.#tasks) {
      if (running >= AT_ONCE_MAX) break
      if (task.state !== 'waiting') continue
      this.#begin(task)
      running++
    }
    this.#changed()
  }

  #begin(task: Task<Source>): void {
    const { application, user, reference } = task
    task.state = 'sending'
    task.rate.clear()
    let current = true
    const ifCurrent = (work: () => void): void => {
      // A sender may still report what was on its way when it was stopped.
      if (current && task.sending === sending) work()
    }
    const sending: Sending = { pause: () => {}, abandon: () => {} }
    task.sending = sending
    const real = this.#options.sender.send(
      task.source!,
      { application, user, ...(reference !== undefined && { reference }) },
      {
        known: reference => {
          task.reference = reference
        },
        progress: doneBytes =>
          ifCurrent(() => {
            task.doneBytes = doneBytes
            task.attempts = 0
            task.rate.add(doneBytes, this.#options.clock.nowMs())
            task.state = doneBytes >= task.sizeBytes ? 'storing' : 'sending'
            this.#changed()
          }),
        stored: () =>
          ifCurrent(() => {
            current = false
            task.sending = undefined
            task.source = undefined
            task.doneBytes = task.sizeBytes
            task.state = 'stored'
            this.#options.onStored(shown(task))
            this.#options.onOver?.(shown(task))
            this.#next()
          }),
        failed: (why, again) =>
          ifCurrent(() => {
            current = false
            task.sending = undefined
            if (again) this.#retry(task)
            else {
              task.why = why
              task.state = 'failed'
            }
            this.#next()
          })
      }
    )
    sending.pause = () => real.pause()
    sending.abandon = () => real.abandon()
  }

  #retry(task: Task<Source>): void {
    const delayMs = RETRY_MS[Math.min(task.attempts++, RETRY_MS.length - 1)]!
    task.state = 'retrying'
    task.cancelRetry = this.#options.clock.after(delayMs, () => {
      task.cancelRetry = undefined
      if (task.state !== 'retrying') return
      task.state = 'waiting'
      this.#next()
    })
  }

  /** @returns what was sending it. */
  #halt(task: Task<Source>): Sending | undefined {
    const { sending } = task
    task.sending = undefined
    task.cancelRetry?.()
    task.cancelRetry = undefined
    return sending
  }

  #find(id: number): Task<Source> | undefined {
    return this.#tasks.find(task => task.id === id)
  }

  #changed(): void {
    this.#options.onChange(this.#tasks.map(shown))
  }
}

function shown<Source>({
  id,
  name,
  sizeBytes,
  lastModified,
  application,
  user,
  state,
  isKept,
  doneBytes,
  rate,
  why
}: Task<Source>): Upload {
  const bytesPerS = state === 'sending' ? rate.bytesPerS : 0
  return { id, name, sizeBytes, lastModified, application, user, state, isKept, doneBytes, bytesPerS, why }
}

function isSame<Source>(task: Task<Source>, { name, size, lastModified }: Content): boolean {
  return task.name === name && task.sizeBytes === size && task.lastModified === lastModified
}
