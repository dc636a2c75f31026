/**
 * What the options of a GlusterFS volume and its mounts cost and gain, on a volume of this machine's own (root only, about
 * two minutes): `npm run bench:glusterfs`. Two mounts, as two members of a group have; what one does the other looks at.
 */
import { randomBytes } from 'node:crypto'
import { link, mkdir, mkdtemp, open, readFile, rm, stat, unlink, type FileHandle } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { HONEST_OPTIONS, HONEST_TIMEOUTS, noGlusterfs, TestVolume } from '../test/testkit/glusterfs.ts'

const FILES = 40
const SMALL_BYTES = 10_000
const LARGE_BYTES = 64 * 1024 * 1024
const PIECE_BYTES = 1024 * 1024
/** A mount that has not noticed by then remembers for good, as far as anybody cares. */
const NOTICED_MS_MAX = 3_000

const CACHES = ['open-behind', 'quick-read', 'nl-cache', 'stat-prefetch'].map(name => `performance.${name}`)
/** GlusterFS's own. */
const DEFAULT_TIMEOUTS = { 'attribute-timeout': '1', 'entry-timeout': '1', 'negative-timeout': '0' }
const cachesOn = Object.fromEntries(CACHES.map(name => [name, 'on']))

interface Variant {
  title: string
  options: Readonly<Record<string, string>>
  timeouts: Readonly<Record<string, string>>
}

const VARIANTS: readonly Variant[] = [
  { title: 'as recommended', options: {}, timeouts: HONEST_TIMEOUTS },
  { title: 'attributes and entries for 1 s', options: {}, timeouts: DEFAULT_TIMEOUTS },
  { title: 'absence for 1 s', options: {}, timeouts: { ...HONEST_TIMEOUTS, 'negative-timeout': '1' } },
  ...CACHES.map(name => ({ title: `${name} on`, options: { [name]: 'on' }, timeouts: HONEST_TIMEOUTS })),
  { title: 'all four on', options: cachesOn, timeouts: HONEST_TIMEOUTS },
  { title: 'all four on, for 1 s', options: cachesOn, timeouts: DEFAULT_TIMEOUTS },
  { title: 'write-behind off', options: { 'performance.write-behind': 'off' }, timeouts: HONEST_TIMEOUTS }
]

const missing = noGlusterfs()
if (missing !== undefined) throw new Error(missing)
const folder = await mkdtemp(join(tmpdir(), 'tributary-options-'))
const volume = await TestVolume.start({ folder })
try {
  console.log(
    '| variant | store a small file, ms | seen by the other, ms | delete seen by name, ms | by descriptor, ms | open and read, ms | look at it, ms | write, MB/s | read, MB/s |'
  )
  console.log('| --- | --- | --- | --- | --- | --- | --- | --- | --- |')
  for (const [number, variant] of VARIANTS.entries()) console.log(await rowOf(number, variant))
} finally {
  await volume.stop()
  await rm(folder, { recursive: true, force: true })
}

async function rowOf(number: number, { title, options, timeouts }: Variant): Promise<string> {
  await volume.set({ ...HONEST_OPTIONS, 'performance.write-behind': 'on', ...options })
  const mounts = [
    await volume.mount(join(folder, `a${number}`), timeouts),
    await volume.mount(join(folder, `b${number}`), timeouts)
  ]
  const [own, other] = mounts.map(({ point }) => join(point, `run${number}`)) as [string, string]
  try {
    await mkdir(own)
    await until(() => stat(other))
    const storedMs: number[] = []
    const seenMs: number[] = []
    const readMs: number[] = []
    const lookedMs: number[] = []
    const goneMs: number[] = []
    const unlinkedMs: number[] = []
    for (let index = 0; index < FILES; index++) {
      const name = `file-${index}`
      await stat(join(other, name)).catch(() => {}) // it was asked for before
      const content = randomBytes(SMALL_BYTES)
      storedMs.push(await timed(() => store(own, name, content)))
      const seen = await until(async () => sameOrThrow(await readFile(join(other, name)), content))
      seenMs.push(seen)
      if (seen === NOTICED_MS_MAX) break // it would be the same with the next one
      readMs.push(await timed(() => readFile(join(other, name))))
      const handle = await open(join(other, name), 'r')
      lookedMs.push(await timed(() => handle.stat()))
      await unlink(join(own, name))
      const [byName, byDescriptor] = await Promise.all([
        until(() => rejected(() => open(join(other, name), 'r'))),
        until(() => unlinked(handle))
      ])
      goneMs.push(byName)
      unlinkedMs.push(byDescriptor)
      await handle.close().catch(() => {})
    }
    const piece = randomBytes(PIECE_BYTES)
    const writeMs = await timed(() => writeLarge(join(own, 'large'), piece))
    const largeMs = await timed(() => readLarge(join(other, 'large')))
    const rate = (ms: number): string => (LARGE_BYTES / 1e6 / (ms / 1_000)).toFixed(0)
    const cells = [storedMs, seenMs, goneMs, unlinkedMs, readMs, lookedMs].map(spread)
    return `| ${[title, ...cells, rate(writeMs), rate(largeMs)].join(' | ')} |`
  } finally {
    await unlink(join(own, 'large')).catch(() => {})
    for (const mount of mounts) await mount.stop()
  }
}

/** As a storage server does it: a private name, synced, then the final one, then the folder. */
async function store(into: string, name: string, content: Buffer): Promise<void> {
  const temporary = join(into, `.${name}`)
  const handle = await open(temporary, 'wx')
  await handle.write(content)
  await handle.datasync()
  await link(temporary, join(into, name))
  const directory = await open(into, 'r')
  await directory.sync()
  await directory.close()
  await unlink(temporary)
  await handle.close()
}

async function writeLarge(path: string, piece: Buffer): Promise<void> {
  const handle = await open(path, 'wx')
  for (let written = 0; written < LARGE_BYTES; written += piece.byteLength) await handle.write(piece)
  await handle.datasync()
  await handle.close()
}

async function readLarge(path: string): Promise<void> {
  const handle = await open(path, 'r')
  const buffer = Buffer.alloc(PIECE_BYTES)
  for (let read = 0; read < LARGE_BYTES;) read += (await handle.read(buffer, 0, PIECE_BYTES, read)).bytesRead
  await handle.close()
}

function sameOrThrow(got: Buffer, expected: Buffer): void {
  if (!got.equals(expected)) throw new Error('it is not whole yet')
}

async function rejected(call: () => Promise<FileHandle>): Promise<void> {
  const handle = await call().catch(() => undefined)
  if (!handle) return
  await handle.close()
  throw new Error('it can be opened still')
}

async function unlinked(handle: FileHandle): Promise<void> {
  const stats = await handle.stat().catch(() => undefined)
  if (stats && stats.nlink > 0) throw new Error('it has a link still')
}

async function timed(call: () => Promise<unknown>): Promise<number> {
  const startMs = performance.now()
  await call()
  return performance.now() - startMs
}

/** Milliseconds until `call` succeeds; NOTICED_MS_MAX where it did not. */
async function until(call: () => Promise<unknown>): Promise<number> {
  const startMs = performance.now()
  for (;;) {
    const elapsedMs = performance.now() - startMs
    const done = await call().then(
      () => true,
      () => false
    )
    if (done) return performance.now() - startMs
    if (elapsedMs > NOTICED_MS_MAX) return NOTICED_MS_MAX
    await sleep(1)
  }
}

function spread(values: readonly number[]): string {
  if (values.length === 0) return '-'
  if (values.includes(NOTICED_MS_MAX)) return `not in ${NOTICED_MS_MAX}`
  const sorted = [...values].sort((a, b) => a - b)
  const at = (share: number): string => sorted[Math.floor(share * (sorted.length - 1))]!.toFixed(1)
  return `${at(0.5)} (${at(1)})`
}
