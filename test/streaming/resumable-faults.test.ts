/**
 * Resumable uploads while everything happens to their servers, by a printed seed: killed, frozen, overtaken, cut off. What is
 * stored in the end is what was sent, and stays so when those that were frozen go on. And a full disk, and time that is over.
 */
import { equal, ok } from 'node:assert/strict'
import { createHash, randomFillSync } from 'node:crypto'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { UploadStatus } from '@tributary/client'
import { TributaryError } from '@tributary/protocol'
import { mountTmpfs, noMounts, unmount } from '../faults/mounts.ts'
import { Random } from '../faults/random.ts'
import { cleanUps } from '../testkit/clean-ups.ts'
import { until } from '../testkit/tributary-process.ts'
import { RunningUp, type Role } from '../testkit/up.ts'
import { diskAgrees } from '../cluster/agreement.ts'

const MIB = 1024 * 1024
const FILM_BYTES = 48 * MIB
const PIECE_BYTES = 256 * 1024
const USER = 'faults'
const ROUNDS = 3
const STEPS_MAX = 14
const BACK_WITHIN_MS = 60_000
/** `up` gives up what dies five times in a minute. */
const KILLS_MAX = 3
const RESTS_MS = 70_000
/** Of what `up` said, where something is wrong. */
const SAID_CHARACTERS = 2_000
const KILLED: readonly Role[] = ['storage1', 'storage2', 'gateway', 'tracker']

const film = randomFillSync(Buffer.allocUnsafe(FILM_BYTES))
const filmSha256 = sha256(film)

describe('a resumable upload', { timeout: 300_000 }, () => {
  it('is what was sent, whatever is killed or frozen, in whatever order', async t => {
    const random = new Random()
    t.diagnostic(`TRIBUTARY_SEED=${random.seed}`)
    const afterwards = cleanUps(t)
    const up = await RunningUp.start()
    afterwards(() => up.close())
    const client = up.client()
    const frozen = new Set<number>()
    const killed: { role: Role; atMs: number }[] = []
    const isTired = (role: Role): boolean =>
      killed.filter(one => one.role === role && performance.now() - one.atMs < RESTS_MS).length >= KILLS_MAX
    const thaw = (): void => {
      for (const pid of frozen) signal(pid, 'SIGCONT')
      frozen.clear()
    }
    afterwards(thaw)
    for (let round = 0; round < ROUNDS; round++) {
      const file = `round-${round}`
      const created = await http('POST', `${up.httpUrl}/uploads`, {
        'Upload-Length': String(FILM_BYTES),
        'Upload-Metadata': `user ${base64(USER)},file ${base64(file)}`
      })
      equal(created.status, 201)
      const id = created.headers.get('location')!.split('/').at(-1)!
      const seen: string[] = []
      let reached = 0
      for (let step = 0; step < STEPS_MAX; step++) {
        const status = await patiently(up, () => client.uploads.status(id), seen)
        ok(
          status.offsetBytes >= reached,
          `acknowledged ${reached}, now ${status.offsetBytes}: ${seen.join()}`
        )
        reached = status.offsetBytes
        if (reached === FILM_BYTES) break
        const bytes = 1 + random.below(16 * MIB)
        const byHttp = random.below(2) === 0
        const sending = byHttp ? patch(up, status, bytes) : append(up, status, bytes)
        sending.catch(() => {})
        const event = random.below(10)
        const role = random.pick(KILLED)
        if (event < 4 && !isTired(role)) {
          killed.push({ role, atMs: performance.now() })
          await sleep(random.below(300))
          seen.push(`kill ${role}`)
          const before = await up.kill(role).catch(() => undefined)
          await sending.catch(() => {})
          if (!before) continue
          // That it serves is for the next step to find out, with those that are frozen.
          await until(`${role} runs again`, BACK_WITHIN_MS, async () => {
            const found = await up.find(role)
            return found !== undefined && found.pid !== before.pid
          })
        } else if (event < 6 && frozen.size === 0) {
          const still = random.pick(['storage1', 'storage2'] as const)
          await sleep(random.below(200))
          const found = await up.find(still)
          if (!found) continue
          seen.push(`freeze ${still}`)
          const { pid, workers } = found
          for (const one of [pid, ...workers]) {
            signal(one, 'SIGSTOP')
            frozen.add(one)
          }
          await Promise.race([sending.catch(() => {}), sleep(4_000)])
        } else if (event < 7) {
          seen.push('overtake')
          await sleep(random.below(50))
          await append(up, status, bytes).catch(() => {})
          await sending.catch(() => {})
        } else {
          seen.push('send')
          await Promise.race([sending.catch(() => {}), sleep(10_000)])
        }
        if (frozen.size > 0 && random.below(3) === 0) {
          seen.push('thaw')
          thaw()
        }
      }
      t.diagnostic(`${file}: ${seen.join(', ')}`)
      await patiently(
        up,
        async () => {
          const status = await client.uploads.status(id)
          if (status.offsetBytes < FILM_BYTES) await append(up, status, FILM_BYTES)
          await client.uploads.commit(id)
        },
        seen
      )
      await isWhole(up, file)
      thaw()
      await sleep(1_000)
      await isWhole(up, file)
    }
    await until('both storage servers are back', BACK_WITHIN_MS, async () => (await up.activeMembers()) === 2)
    await up.stop()
    await diskAgrees(up)
  })

  it('that nobody goes on with is given up when its time is over, with all that came', async t => {
    const afterwards = cleanUps(t)
    const up = await RunningUp.start({ env: { TRIBUTARY_STORAGE_UPLOAD_KEEP_H: '0.0012' } })
    afterwards(() => up.close())
    const created = await http('POST', `${up.httpUrl}/uploads`, { 'Upload-Length': String(FILM_BYTES) })
    const url = `${up.httpUrl}${created.headers.get('location')}`
    const headers = { 'Content-Type': 'application/offset+octet-stream', 'Upload-Offset': '0' }
    equal((await http('PATCH', url, headers, film.subarray(0, MIB))).status, 204)
    const folders = (): Promise<string[]> => readdir(join(up.storeRoot, '.parts'))
    equal((await folders()).length, 1)
    await until('its folder is gone', 30_000, async () => (await folders()).length === 0)
    equal((await http('HEAD', url)).status, 404)
  })

  it(
    'is refused by a full disk, keeps what came, and goes on when there is room',
    { skip: noMounts() ?? false },
    async t => {
      const afterwards = cleanUps(t)
      const folder = await mkdtemp(join(tmpdir(), 'tributary-full-'))
      afterwards(() => rm(folder, { recursive: true, force: true }))
      const stores = join(folder, 'data', 'stores')
      await mountTmpfs(t, stores, '160m')
      afterwards(() => unmount(stores))
      const env = { TRIBUTARY_STORAGE_RESERVE_BYTES: '1MiB', TRIBUTARY_STORAGE_REDO_BYTES: '16MiB' }
      const up = await RunningUp.start({ folder, env })
      afterwards(() => up.close())
      const client = up.client()
      const key = { application: 'media', user: USER, file: 'full' }
      const upload = await client.uploads.create({ ...key, sizeBytes: FILM_BYTES })
      const half = await append(up, upload, FILM_BYTES / 2)
      const junk = join(stores, 'junk')
      await writeFile(junk, Buffer.alloc(160 * MIB)).catch(() => {})
      const code = await append(up, half, FILM_BYTES).then(
        () => 'done',
        (error: unknown) => (error as TributaryError).code
      )
      equal(code, 'NO_SPACE')
      const now = await client.uploads.status(upload.id)
      ok(now.offsetBytes >= half.offsetBytes)
      // The free space is measured every second.
      await until('new ones are refused', 10_000, async () => {
        const refused = await http('POST', `${up.httpUrl}/uploads`, { 'Upload-Length': String(FILM_BYTES) })
        return refused.status === 507
      })
      await rm(junk)
      await patiently(up, async () => {
        const status = await client.uploads.status(upload.id)
        if (status.offsetBytes < FILM_BYTES) await append(up, status, FILM_BYTES)
        await client.uploads.commit(upload.id)
      })
      await isWhole(up, 'full')
    }
  )
})

function append(up: RunningUp, status: UploadStatus, bytes: number): Promise<UploadStatus> {
  const { id, offsetBytes, fence } = status
  const end = Math.min(FILM_BYTES, offsetBytes + bytes)
  let at = offsetBytes
  const reader = {
    read: async () => {
      if (at >= end) return undefined
      const piece = film.subarray(at, Math.min(end, at + PIECE_BYTES))
      at += piece.byteLength
      return piece
    }
  }
  return up.client().uploads.append(id, reader, { offsetBytes, sizeBytes: end - offsetBytes, fence })
}

async function patch(up: RunningUp, { id, offsetBytes }: UploadStatus, bytes: number): Promise<void> {
  const headers = { 'Content-Type': 'application/offset+octet-stream', 'Upload-Offset': String(offsetBytes) }
  const content = film.subarray(offsetBytes, offsetBytes + bytes)
  await http('PATCH', `${up.httpUrl}/uploads/${id}`, headers, content)
}

async function http(method: string, url: string, headers: object = {}, body?: Buffer): Promise<Response> {
  const response = await fetch(url, {
    method,
    headers: { 'Tus-Resumable': '1.0.0', ...headers },
    signal: AbortSignal.timeout(30_000),
    ...(body !== undefined && { body })
  })
  await response.arrayBuffer()
  return response
}

/** Servers are coming back: what they cannot do yet they are asked again. */
async function patiently<T>(
  up: RunningUp,
  work: () => Promise<T>,
  before: readonly string[] = []
): Promise<T> {
  const endMs = performance.now() + BACK_WITHIN_MS
  for (;;) {
    try {
      return await work()
    } catch (error) {
      if (!(error instanceof TributaryError)) throw error
      if (performance.now() > endMs) {
        const said = up.err.slice(-SAID_CHARACTERS)
        throw new Error(`not within ${BACK_WITHIN_MS} ms, after ${before.join(', ')}; up said: ${said}`, {
          cause: error
        })
      }
      await sleep(200)
    }
  }
}

async function isWhole(up: RunningUp, file: string): Promise<void> {
  const bytes = await until(`${file} can be read`, BACK_WITHIN_MS, async () => {
    const response = await fetch(up.urlOf(USER, file)).catch(() => undefined)
    return response?.status === 200 && Buffer.from(await response.arrayBuffer())
  })
  equal(sha256(bytes), filmSha256, file)
}

function signal(pid: number, name: 'SIGSTOP' | 'SIGCONT'): void {
  try {
    process.kill(pid, name)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64')
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}
