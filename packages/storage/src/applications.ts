/** Which applications exist, remembered for a while: an upload for an unknown one is refused. */
import type { Routes } from '@tributary/database'
import { RejectedError } from '@tributary/protocol'
import { databaseError } from './index-entry.ts'

const REFRESH_MS = 5_000
/** For an unknown name the database is asked at most so often, or hostile peers would ask it at will: they wait. */
const MISS_REFRESH_MS = 100

export class Applications {
  readonly #routes: Routes
  #names: ReadonlySet<string> = new Set()
  #readMs = -Infinity
  #reading: Promise<void> | undefined
  #next: Promise<void> | undefined

  constructor(routes: Routes) {
    this.#routes = routes
  }

  /**
   * Nothing when it exists; a promise where that has to be asked.
   *
   * @throws {RejectedError} UNKNOWN_APPLICATION
   */
  check(name: string): void | Promise<void> {
    const ageMs = performance.now() - this.#readMs
    if (this.#names.has(name)) {
      if (ageMs > REFRESH_MS) void this.#read().catch(() => {})
      return
    }
    return this.#readAgain(ageMs).then(() => {
      if (!this.#names.has(name)) throw unknown(name)
    })
  }

  /** What was read before the question came says nothing about an application that was added since. */
  #readAgain(ageMs: number): Promise<void> {
    this.#next ??= new Promise(resolve => setTimeout(resolve, Math.max(0, MISS_REFRESH_MS - ageMs)))
      .then(() => this.#reading?.catch(() => {}))
      .then(() => {
        this.#next = undefined
        return this.#read()
      })
    return this.#next
  }

  #read(): Promise<void> {
    return (this.#reading ??= this.#routes
      .applications()
      .then(
        names => {
          this.#names = new Set(names)
          this.#readMs = performance.now()
        },
        (error: unknown) => {
          throw databaseError(error)
        }
      )
      .finally(() => {
        this.#reading = undefined
      }))
  }
}

function unknown(name: string): RejectedError {
  return new RejectedError('UNKNOWN_APPLICATION', `unknown application: ${name}`)
}
