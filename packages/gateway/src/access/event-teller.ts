/** Tells the index what happened, where there are webhooks. It never holds a request up. */
import { eventOf, type Happening } from '@tributary/calls'
import type { Clock, Log } from '@tributary/runtime'
import type { FileService } from '../file-service.ts'
import type { AccessCopy } from './access-copy.ts'

/** Tried so often; a tracker that is away for longer loses it. */
const TRIES_MAX = 5
const RETRY_MS = 2_000
/** Told at a time; of more the oldest are not waited for. */
const WAITING_MAX = 1_000

export class EventTeller {
  readonly #files: Pick<FileService, 'index'>
  readonly #copy: AccessCopy
  readonly #clock: Clock
  readonly #log: Log
  readonly #telling = new Set<Promise<void>>()

  constructor(files: Pick<FileService, 'index'>, copy: AccessCopy, clock: Clock, log: Log) {
    this.#files = files
    this.#copy = copy
    this.#clock = clock
    this.#log = log
  }

  tell(happening: Happening): void {
    if (this.#copy.webhooks === 0 || this.#telling.size >= WAITING_MAX) return
    const telling = this.#tell(happening).finally(() => this.#telling.delete(telling))
    this.#telling.add(telling)
  }

  /** When all that was told is with the index, or lost. */
  async settled(): Promise<void> {
    await Promise.all(this.#telling)
  }

  async #tell(happening: Happening): Promise<void> {
    const told = eventOf(happening, this.#clock.nowMs())
    for (let tries = 1; ; tries++) {
      try {
        await this.#files.index('events.tell', told)
        return
      } catch (error) {
        if (tries >= TRIES_MAX) {
          const { event, application } = told
          this.#log.warn({ err: error, event, application }, 'webhooks were not told of an event')
          return
        }
        await this.#clock.sleep(RETRY_MS * tries)
      }
    }
  }
}
