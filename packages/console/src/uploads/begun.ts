/** Uploads that were begun in this browser and have not ended, so that a later visit finds them. */
import { read, write } from '../settings.ts'
import type { Interrupted } from './queue.ts'

const NAME = 'uploads'
/** More are not kept; they go on only as long as the page lives. */
const BEGUN_MAX = 200

export interface Begun {
  url: string
  name: string
  sizeBytes: number
  lastModified: number
  application: string
  user: string
}

export function keepBegun(begun: Begun): void {
  const others = allBegun().filter(({ url }) => url !== begun.url)
  write(NAME, JSON.stringify([...others, begun].slice(-BEGUN_MAX)))
}

export function forgetBegun(url: string): void {
  const others = allBegun().filter(begun => begun.url !== url)
  write(NAME, others.length === 0 ? '' : JSON.stringify(others))
}

/** Asks the server how far each is; what it no longer knows is forgotten. */
export async function findInterrupted(): Promise<Interrupted[]> {
  const found = await Promise.all(
    allBegun().map(async ({ url, ...begun }): Promise<Interrupted | undefined> => {
      const response = await fetch(url, {
        method: 'HEAD',
        cache: 'no-store',
        headers: { 'tus-resumable': '1.0.0' }
      }).catch(() => undefined)
      if (response && (response.status === 404 || response.status === 410)) forgetBegun(url)
      const offset = response?.ok ? response.headers.get('upload-offset') : null
      if (offset === null) return undefined
      return { ...begun, doneBytes: Number(offset), reference: url }
    })
  )
  return found.filter(upload => upload !== undefined)
}

/** What was begun here and has not ended, as far as is known. */
export function allBegun(): Begun[] {
  try {
    const kept: unknown = JSON.parse(read(NAME) || '[]')
    return Array.isArray(kept) ? kept.filter(isBegun) : []
  } catch {
    return []
  }
}

function isBegun(value: unknown): value is Begun {
  const { url, name, sizeBytes, lastModified, application, user } = (value ?? {}) as Partial<Begun>
  return (
    [url, name, application, user].every(text => typeof text === 'string') &&
    [sizeBytes, lastModified].every(figure => typeof figure === 'number')
  )
}
