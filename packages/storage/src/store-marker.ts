/**
 * The marker at the root of a store path: which store this is, whose it is, and how it is laid out. It is made by
 * `tributary storage init` and `up` only. Without it nothing is read or written: an unmounted mount point looks
 * exactly like an empty store.
 */
import { randomUUID } from 'node:crypto'
import { mkdir, open, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'

export const MARKER_NAME = '.tributary-store'
export const LAYOUT_VERSION = 1

export interface StoreMarker {
  layout: number
  store: string
  cluster: string
  group: string
  createdAt: string
}

/** The path is not a store of ours, or not this cluster's or this group's. */
export class StoreMarkerError extends Error {
  override readonly name = 'StoreMarkerError'
}

export interface StoreOwner {
  cluster: string
  group: string
}

/**
 * Makes `root` a store, or accepts the one that is there.
 *
 * @throws {StoreMarkerError} it belongs to another cluster or group.
 */
export async function initStore(root: string, owner: StoreOwner): Promise<StoreMarker> {
  await mkdir(root, { recursive: true })
  const existing = await readMarker(root, owner).catch((error: unknown) => {
    if (isMissing(error)) return undefined
    throw error
  })
  if (existing) return existing
  const marker: StoreMarker = {
    layout: LAYOUT_VERSION,
    store: randomUUID(),
    cluster: owner.cluster,
    group: owner.group,
    createdAt: new Date().toISOString()
  }
  const temporary = join(root, `${MARKER_NAME}.${randomUUID()}`)
  const file = await open(temporary, 'wx', 0o644)
  try {
    await file.writeFile(`${JSON.stringify(marker, undefined, 2)}\n`)
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(temporary, join(root, MARKER_NAME))
  const directory = await open(root, 'r')
  await directory.sync().finally(() => directory.close())
  return readMarker(root, owner)
}

/**
 * @throws {StoreMarkerError} missing (code ENOENT), unreadable, of a newer layout, or somebody else's.
 */
export async function readMarker(root: string, owner: StoreOwner): Promise<StoreMarker> {
  let text: string
  try {
    text = await readFile(join(root, MARKER_NAME), 'utf8')
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code
    const error = new StoreMarkerError(
      code === 'ENOENT'
        ? `${root} is not a store: it has no ${MARKER_NAME}. If it should be a mounted volume, mount it; ` +
            `to make it a new store, run 'tributary storage init'`
        : `the marker of ${root} cannot be read: ${code ?? String(cause)}`,
      { cause }
    )
    throw error
  }
  const marker = parseMarker(text, root)
  if (marker.layout !== LAYOUT_VERSION) {
    throw new StoreMarkerError(
      `${root} has store layout ${marker.layout}; this program knows ${LAYOUT_VERSION}`
    )
  }
  if (marker.cluster !== owner.cluster) {
    throw new StoreMarkerError(
      `${root} is a store of cluster ${marker.cluster}, but the database is of cluster ${owner.cluster}. ` +
        `Point to that cluster's database; where it is lost, 'tributary fsck --rebuild-index' makes it again`
    )
  }
  if (marker.group !== owner.group) {
    throw new StoreMarkerError(
      `${root} is a store of group ${marker.group}, this server is of ${owner.group}`
    )
  }
  return marker
}

/** Reads a marker whoever it belongs to. @throws {StoreMarkerError} it is none. */
export async function readAnyMarker(root: string): Promise<StoreMarker> {
  return parseMarker(await readFile(join(root, MARKER_NAME), 'utf8'), root)
}

export function isMissing(error: unknown): boolean {
  return ((error as Error).cause as NodeJS.ErrnoException | undefined)?.code === 'ENOENT'
}

function parseMarker(text: string, root: string): StoreMarker {
  try {
    const marker = JSON.parse(text) as Partial<StoreMarker>
    if (typeof marker.layout === 'number' && typeof marker.store === 'string' && UUID.test(marker.store)) {
      if (typeof marker.cluster === 'string' && typeof marker.group === 'string') return marker as StoreMarker
    }
  } catch {
    // said below
  }
  throw new StoreMarkerError(`the marker of ${root} is damaged`)
}

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
