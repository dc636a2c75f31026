/** Reads through a film in a thread of its own: it may take long, and nobody else is to wait for it. */
import { parentPort, workerData } from 'node:worker_threads'
import { makeIndex, openFilm, UnpackageableError } from '@tributary/media'

export interface IndexOrder {
  sizeBytes: number
  growing: boolean
}

/** From the thread: what it wants to read; and at the end what came of it. */
export type ThreadMessage =
  | { kind: 'read'; start: number; end: number }
  | { kind: 'made'; bytes: Uint8Array }
  | { kind: 'refused'; reason: string; failure: UnpackageableError['kind'] }
  | { kind: 'failed'; reason: string }
/** To the thread: the bytes; undefined: they could not be had. */
export type ThreadReply = Uint8Array | undefined

const port = parentPort!
const { sizeBytes, growing } = workerData as IndexOrder
let settle: ((bytes: Uint8Array) => void) | undefined
let fail: ((error: Error) => void) | undefined

port.on('message', (bytes: ThreadReply) => {
  if (bytes === undefined) fail?.(new Error('the film could not be read'))
  else settle?.(bytes)
})

const source = {
  sizeBytes,
  // The reader asks for one thing at a time but for what mediabunny wants side by side: those wait in line.
  read: (start: number, end: number) => inLine(() => ask(start, end))
}

function ask(start: number, end: number): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    settle = resolve
    fail = reject
    tell({ kind: 'read', start, end })
  })
}

let line: Promise<unknown> = Promise.resolve()
function inLine<T>(work: () => Promise<T>): Promise<T> {
  const turn = line.then(work, work)
  line = turn.catch(() => {})
  return turn
}

function tell(message: ThreadMessage): void {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- that is for windows, not threads
  port.postMessage(message)
}

try {
  const bytes = await makeIndex(await openFilm(source, { growing }))
  tell({ kind: 'made', bytes })
} catch (error) {
  if (error instanceof UnpackageableError)
    tell({ kind: 'refused', reason: error.message, failure: error.kind })
  else tell({ kind: 'failed', reason: (error as Error).message })
}
port.close()
