/** A byte flips on the disk of a running cluster: the scrub finds it before anybody asks for the file. */
import { equal, match, ok, rejects } from 'node:assert/strict'
import { mkdtemp, open, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import type { Client } from '@tributary/client'
import { contentOf } from '../faults/random.ts'
import { freePort } from '../testkit/ports.ts'
import { until } from '../testkit/tributary-process.ts'
import { RunningUp } from '../testkit/up.ts'

const KEY = { application: 'media', user: 'scrub', file: 'film' }
const FILM_BYTES = 3_000_000
/** A file is left alone for 10 s after it was stored, and looked at twice. */
const FOUND_WITHIN_MS = 40_000

describe('the scrub of a running cluster', { timeout: 180_000 }, () => {
  let folder: string
  let up: RunningUp
  let client: Client
  let adminUrl: string

  const start = async (): Promise<void> => {
    const port = await freePort()
    adminUrl = `http://127.0.0.1:${port}`
    const env = { TRIBUTARY_STORAGE_ADMIN_PORT: String(port), TRIBUTARY_STORAGE_SCRUB_INTERVAL_H: '0.0003' }
    up = await RunningUp.start({ folder, flags: ['--storages', '1', '--verbose'], env })
    client = up.client()
  }
  const metric = async (name: string): Promise<number> => {
    const text = await (await fetch(`${adminUrl}/metrics`)).text()
    const line = text.split('\n').find(each => each.startsWith(`tributary_storage_${name}`))
    return Number(line?.split(' ').at(-1))
  }
  const note = async (): Promise<{ ready: boolean; reason: string }> => {
    const { ready, conditions } = (await (await fetch(`${adminUrl}/readyz`)).json()) as {
      ready: boolean
      conditions: Record<string, { reason: string }>
    }
    return { ready, reason: conditions[`content of ${up.storeRoot}`]?.reason ?? '' }
  }
  /** Files of the store with so many bytes. */
  const flipByte = async (bytes: number): Promise<string> => {
    const entries = await readdir(up.storeRoot, { recursive: true, withFileTypes: true })
    for (const entry of entries) {
      const path = join(entry.parentPath, entry.name)
      if (!entry.isFile() || path.includes('/.')) continue
      const handle = await open(path, 'r+')
      try {
        if ((await handle.stat()).size !== bytes) continue
        const byte = Buffer.alloc(1)
        await handle.read(byte, 0, 1, bytes - 1)
        byte[0]! ^= 1
        await handle.write(byte, 0, 1, bytes - 1)
        return path.slice(up.storeRoot.length + 1)
      } finally {
        await handle.close()
      }
    }
    throw new Error(`no file of ${bytes} bytes`)
  }

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tributary-scrub-'))
    await start()
  })
  after(async () => {
    await up?.close()
    await rm(folder, { recursive: true, force: true })
  })

  it('finds it, names it in log, metrics and readiness, and stays ready', async () => {
    await client.upload(contentOf('film', FILM_BYTES), { key: KEY })
    await client.upload(contentOf('clip', 20_000), { key: { ...KEY, file: 'clip' } })
    const path = await flipByte(FILM_BYTES)
    await until(
      'the damage is found',
      FOUND_WITHIN_MS,
      async () => (await metric('scrub_damaged_files')) === 1
    )
    const named = new RegExp(`^1 damaged, 0 missing: wrong-checksum media/scrub/film at ${path}$`)
    await until('readiness names it', 5_000, async () => named.test((await note()).reason))
    ok((await note()).ready)
    match(up.err, /a stored file is not what was stored/)
    ok((await metric('scrub_last_round_timestamp_seconds')) > Date.now() / 1_000 - 60)
    ok((await metric('scrubbed_bytes_total')) >= FILM_BYTES)
    equal(await metric('scrub_missing_files'), 0)
  })

  it('knows of it after a restart, and forgets it when the file is deleted', async () => {
    await up.stop()
    await start()
    await until('it is known again', 10_000, async () => (await metric('scrub_damaged_files')) === 1)
    await client.delete(KEY)
    await until('it is forgotten', FOUND_WITHIN_MS, async () => (await metric('scrub_damaged_files')) === 0)
    await until('readiness forgets it', 5_000, async () => (await note()).reason === '')
  })

  it('a read that meets damage is refused and counted', async () => {
    await flipByte(20_000)
    equal(await metric('checksum_mismatches_total'), 0)
    const impatient = up.client({ retryForMs: 0 })
    await rejects(impatient.fetch({ ...KEY, file: 'clip' }), { code: 'CHECKSUM_MISMATCH' })
    await until('it is counted', 5_000, async () => (await metric('checksum_mismatches_total')) > 0)
  })
})
