/** A disk that is full, under a running cluster: a small tmpfs. */
import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { randomFillSync } from 'node:crypto'
import { mkdir, mkdtemp, rm, statfs, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { promisify } from 'node:util'
import type { UnavailableError } from '@tributary/protocol'
import { cleanUps } from '../testkit/clean-ups.ts'
import { RunningUp } from '../testkit/up.ts'
import { until } from '../testkit/tributary-process.ts'
import { diskAgrees } from './agreement.ts'
import { ENGINES } from './engines.ts'

const execute = promisify(execFile)
const MIB = 1024 * 1024
/** The redo segments of two servers, 64 MiB, and room for some files. */
const DISK_BYTES = 192 * MIB
const RESERVE_BYTES = 8 * MIB
const FILE_BYTES = 16 * MIB
const SMALL = {
  TRIBUTARY_STORAGE_RESERVE_BYTES: String(RESERVE_BYTES),
  TRIBUTARY_STORAGE_REDO_BYTES: '16MiB'
}
const USER = 'full'
/** The free space is measured again within a second, and told with the next heartbeat. */
const ROOM_AGAIN_WITHIN_MS = 20_000

type Afterwards = (undo: () => unknown) => void

const content = randomFillSync(Buffer.allocUnsafe(FILE_BYTES))
const skip = process.getuid?.() === 0 ? false : 'only root mounts file systems'

for (const engine of ENGINES) {
  describe(
    `a cluster on ${engine.name} whose disk is full`,
    { skip: skip || engine.skip, timeout: 120_000 },
    () => {
      it('refuses uploads with the reason, serves what it has, and takes files again when there is room', async t => {
        const afterwards = cleanUps(t)
        const folder = await temporaryFolder(afterwards)
        const stores = join(folder, 'data', 'stores')
        await mountSmallDisk(afterwards, stores)
        const backing = await engine.start()
        afterwards(() => backing.stop())
        const up = await RunningUp.start({ ...backing, folder, env: SMALL })
        afterwards(() => up.close())
        const client = up.client()
        const keyOf = (file: string) => ({ application: 'media', user: USER, file })
        const put = (file: string, body: Buffer = content) =>
          fetch(up.urlOf(USER, file), { method: 'PUT', body })

        const files: string[] = []
        let refusal: Response
        for (;;) {
          refusal = await put(`file-${files.length}`)
          if (refusal.status !== 201) break
          await refusal.arrayBuffer()
          files.push(`file-${files.length}`)
        }
        const problem = (await refusal.json()) as { code: string; detail: string }
        t.diagnostic(`after ${files.length} files: ${refusal.status} ${problem.code} ${problem.detail}`)
        ok(files.length >= 4)
        equal(refusal.status, 507, problem.detail)
        equal(problem.code, 'NO_SPACE')
        match(problem.detail, /space|free/)
        const { bavail, bsize } = await statfs(stores)
        ok(bavail * bsize >= RESERVE_BYTES, 'the reserve is not touched')

        // Every kind of upload: known size, unknown size, small.
        const started = performance.now()
        await rejects(client.upload(content, { key: keyOf('bytes') }), noSpace)
        await rejects(client.upload(pieces(content), { key: keyOf('stream') }), noSpace)
        equal((await put('again')).status, 507)
        const small = await put('small', content.subarray(0, 5_000))
        t.diagnostic(
          `refused within ${Math.round((performance.now() - started) / 3)} ms each; a small file: ${small.status}`
        )
        ok([201, 507].includes(small.status))
        if (small.status === 201) files.push('small')
        for (const file of ['bytes', 'stream', 'again', `file-${files.length}`]) {
          equal((await fetch(up.urlOf(USER, file))).status, 404)
        }
        for (const file of files) ok(await isWhole(up, file), file)

        // Somebody else fills it to the last byte: the reserve, too.
        const junk = join(stores, 'junk')
        await rejects(writeFile(junk, Buffer.alloc(DISK_BYTES)), { code: 'ENOSPC' })
        equal((await put('crammed')).status, 507)
        equal((await put('crammed', content.subarray(0, 5_000))).status, 507)
        for (const file of files) ok(await isWhole(up, file), file)
        // A delete needs room in no journal that it cannot have.
        equal((await fetch(up.urlOf(USER, files[0]!), { method: 'DELETE' })).status, 204)
        files.shift()
        await rm(junk)
        equal((await fetch(up.urlOf(USER, files[0]!), { method: 'DELETE' })).status, 204)
        files.shift()

        const freeMs = performance.now()
        await until('there is room again', ROOM_AGAIN_WITHIN_MS, async () => {
          const response = await put('fresh')
          await response.arrayBuffer()
          return response.status === 201
        })
        t.diagnostic(`takes files again after ${Math.round(performance.now() - freeMs)} ms`)
        files.push('fresh')
        for (const file of files) ok(await isWhole(up, file), file)
        deepEqual(await up.stop(), { exitCode: 0, signal: null })
        equal(await diskAgrees(up), files.length)
      })
    }
  )
}

describe('a cluster whose index and store share a disk that is full', { skip, timeout: 120_000 }, () => {
  it('serves what it has, refuses the rest as unavailable, and recovers', async t => {
    const afterwards = cleanUps(t)
    const folder = await temporaryFolder(afterwards)
    await mountSmallDisk(afterwards, join(folder, 'data'))
    const up = await RunningUp.start({ folder, env: SMALL })
    afterwards(() => up.close())
    const put = (file: string, body: Buffer) => fetch(up.urlOf(USER, file), { method: 'PUT', body })
    equal((await put('large', content)).status, 201)
    equal((await put('small', content.subarray(0, 5_000))).status, 201)
    const junk = join(folder, 'data', 'junk')
    await rejects(writeFile(junk, Buffer.alloc(DISK_BYTES)), { code: 'ENOSPC' })
    for (let i = 0; i < 10; i++) {
      const refused = await put(`refused-${i}`, content.subarray(0, 5_000))
      ok([503, 507].includes(refused.status), `${refused.status} ${await refused.text()}`)
      const absent = await fetch(up.urlOf(USER, `refused-${i}`))
      equal(absent.status, 404, await absent.text())
      ok(await isWhole(up, 'large'))
    }
    await rm(junk)
    await until('there is room again', ROOM_AGAIN_WITHIN_MS, async () => {
      const response = await put('fresh', content)
      await response.arrayBuffer()
      return response.status === 201
    })
    ok(await isWhole(up, 'large'))
    ok(await isWhole(up, 'fresh'))
    equal((await fetch(up.urlOf(USER, 'large'), { method: 'DELETE' })).status, 204)
    deepEqual(await up.stop(), { exitCode: 0, signal: null })
    equal(await diskAgrees(up), 2)
  })
})

async function isWhole(up: RunningUp, file: string): Promise<boolean> {
  const response = await fetch(up.urlOf(USER, file))
  const bytes = Buffer.from(await response.arrayBuffer())
  return (
    response.status === 200 && bytes.equals(content.subarray(0, bytes.byteLength)) && bytes.byteLength > 0
  )
}

function noSpace(error: UnavailableError): true {
  equal(error.code, 'NO_SPACE')
  match(error.message, /space|free/)
  return true
}

async function* pieces(bytes: Buffer): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.byteLength; at += MIB) yield bytes.subarray(at, at + MIB)
}

async function temporaryFolder(afterwards: Afterwards): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'tributary-full-'))
  afterwards(() => rm(folder, { recursive: true, force: true, maxRetries: 3 }))
  return folder
}

async function mountSmallDisk(afterwards: Afterwards, folder: string): Promise<void> {
  await mkdir(folder, { recursive: true })
  await execute('mount', ['-t', 'tmpfs', '-o', `size=${DISK_BYTES}`, 'tributary-test', folder])
  afterwards(() => execute('umount', ['-l', folder]))
}
