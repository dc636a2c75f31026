/** Makes indexes of films, a few at a time, each in a thread that is bounded in time and memory. */
import { Worker } from 'node:worker_threads'
import type { ByteSource } from '@tributary/media'
import { UnpackageableError } from '@tributary/media'
import type { IndexOrder, ThreadMessage, ThreadReply } from './index-thread.ts'
import { Turnstile } from './turnstile.ts'

const THREAD_FILE = 'index-thread'
const MAKING_MAX = 2
const WAITING_MAX = 32
const HEAP_MIB_MAX = 256
const YOUNG_HEAP_MIB_MAX = 32
/** Reading through a terabyte takes longer than anybody waits. */
const MAKE_MS_MAX = 20 * 60_000

export class IndexMaker {
  readonly #turnstile = new Turnstile({
    insideMax: MAKING_MAX,
    lineMax: WAITING_MAX,
    busy: 'many new films are being looked at; this one waits for its turn'
  })
  readonly #threads = new Set<Worker>()
  made = 0
  refused = 0

  get making(): number {
    return this.#turnstile.inside
  }

  /**
   * @throws {UnpackageableError} it cannot be packaged. {HttpProblem} 503: too many wait. Whatever reading it throws.
   */
  make(source: ByteSource, growing: boolean): Promise<Uint8Array> {
    return this.#turnstile.pass(() => this.#run(source, growing))
  }

  async close(): Promise<void> {
    await Promise.all([...this.#threads].map(thread => thread.terminate()))
  }

  #run(source: ByteSource, growing: boolean): Promise<Uint8Array> {
    const ending = import.meta.url.endsWith('.ts') ? '.ts' : '.js'
    const order: IndexOrder = { sizeBytes: source.sizeBytes, growing }
    const thread = new Worker(new URL(`./${THREAD_FILE}${ending}`, import.meta.url), {
      workerData: order,
      // Not the process's own flags: some, such as the test runner's, are refused for threads.
      execArgv: ending === '.ts' ? ['--conditions=tributary-source'] : [],
      resourceLimits: { maxOldGenerationSizeMb: HEAP_MIB_MAX, maxYoungGenerationSizeMb: YOUNG_HEAP_MIB_MAX }
    })
    this.#threads.add(thread)
    const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>()
    /** What reading failed of; the thread knows only that it did. */
    let failure: unknown
    const timer = setTimeout(
      () =>
        reject(
          new UnpackageableError('beyond-limits', `it could not be understood within ${MAKE_MS_MAX} ms`)
        ),
      MAKE_MS_MAX
    )
    const answer = (bytes: ThreadReply): void => {
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- that is for windows, not threads
      thread.postMessage(bytes)
    }
    thread.on('message', (message: ThreadMessage) => {
      switch (message.kind) {
        case 'read':
          source.read(message.start, message.end).then(answer, error => {
            failure = error
            answer(undefined)
          })
          break
        case 'made':
          this.made++
          resolve(message.bytes)
          break
        case 'refused':
          if (failure !== undefined) return reject(failure as Error)
          this.refused++
          reject(new UnpackageableError(message.failure, message.reason))
          break
        default:
          reject((failure as Error) ?? new Error(message.reason))
      }
    })
    thread.on('error', (error: NodeJS.ErrnoException) => {
      const tooMuch = error.code === 'ERR_WORKER_OUT_OF_MEMORY'
      reject(
        tooMuch ? new UnpackageableError('beyond-limits', 'understanding it takes too much memory') : error
      )
    })
    thread.on('exit', () => reject(new Error('the thread that makes indexes ended')))
    return promise.finally(() => {
      clearTimeout(timer)
      this.#threads.delete(thread)
      void thread.terminate()
    })
  }
}
