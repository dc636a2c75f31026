/**
 * One process at a time writes under a writer's name in a store. A worker whose main process was killed may still be
 * at its last request when its successor starts; the successor must not take over its leftovers before it is gone.
 *
 * The lock is a listening socket in Linux's abstract namespace: it goes with its process, however that ends.
 */
import { once } from 'node:events'
import { createServer, type Server } from 'node:net'
import { UnavailableError } from '@tributary/protocol'

/** Longer than an orderly stop of the one before takes by default. */
export const LOCK_WAIT_MS = 15_000
const RETRY_MS = 20

export interface WriterLock {
  release(): void
}

/** @throws {UnavailableError} STORE_UNAVAILABLE: another process writes under this name. */
export async function lockWriter(store: string, writer: string, waitMs = LOCK_WAIT_MS): Promise<WriterLock> {
  const endMs = performance.now() + waitMs
  for (;;) {
    const server = await tryLock(`\0tributary/${store}/${writer}`)
    if (server) return { release: () => void server.close() }
    if (performance.now() > endMs) {
      throw new UnavailableError(
        'STORE_UNAVAILABLE',
        `another process writes as ${writer} in store ${store}: two members of one name, or one that does not end`
      )
    }
    await new Promise(resolve => setTimeout(resolve, RETRY_MS))
  }
}

async function tryLock(path: string): Promise<Server | undefined> {
  const server = createServer(socket => socket.destroy())
  try {
    await once(server.listen({ path, exclusive: true }), 'listening')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') return undefined
    throw error
  }
  server.unref()
  return server
}
