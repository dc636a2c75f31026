/** Resumable uploads on a whole cluster: whatever dies in the middle, they go on, and no byte is another. */
import { equal, match, ok, rejects } from 'node:assert/strict'
import { createHash, randomFillSync } from 'node:crypto'
import { readdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Client, UploadStatus } from '@tributary/client'
import type { FileKey, TributaryError } from '@tributary/protocol'
import { RunningUp, type Role } from '../testkit/up.ts'
import { TributaryProcess, until } from '../testkit/tributary-process.ts'
import { ENGINES, type Backing } from '../cluster/engines.ts'

const MIB = 1024 * 1024
const FILM_BYTES = 192 * MIB
const PIECE_BYTES = 64 * 1024
const BACK_WITHIN_MS = 60_000
const USER = 'resumable'

const film = randomFillSync(Buffer.allocUnsafe(FILM_BYTES))
const filmSha256 = sha256(film)

for (const engine of ENGINES) {
  describe(`resumable uploads on ${engine.name}`, { skip: engine.skip, timeout: 300_000 }, () => {
    let backing: Backing
    let up: RunningUp
    let path: string
    const keyOf = (file: string): FileKey => ({ application: 'media', user: USER, file })

    before(async () => {
      backing = await engine.start()
      up = await RunningUp.start(backing)
      path = join(up.folder, 'film.mkv')
      await writeFile(path, film)
    })
    after(async () => {
      await up?.close()
      await backing?.stop()
    })

    const untilWhole = (): Promise<unknown> =>
      until('both storage servers are back', BACK_WITHIN_MS, async () => {
        const running = (await up.find('storage1')) && (await up.find('storage2'))
        return running && (await up.activeMembers().catch(() => 0)) === 2
      })
    const stored = async (file: string): Promise<void> => {
      const response = await fetch(up.urlOf(USER, file))
      equal(response.status, 200)
      equal(sha256(Buffer.from(await response.arrayBuffer())), filmSha256)
    }
    const leftFolders = (): Promise<string[]> => readdir(join(up.storeRoot, '.parts')).catch(() => [])

    /** Which member has the upload's file open for writing now: the index says so. */
    const writerOf = async (): Promise<Role> => {
      const { openDatabase } = await import('@tributary/database')
      const database = await openDatabase(up.databaseUrl)
      try {
        return await until('somebody writes', 20_000, async () => {
          const rows = await database.control.queries.selectFrom('uploads').select('holder').execute()
          const holders = rows.map(({ holder }) => Buffer.from(holder as Uint8Array).toString())
          return holders.find(holder => holder !== '')?.split('.')[0] as Role | undefined
        })
      } finally {
        await database.close()
      }
    }

    it('go on when the storage server that writes is killed, without being told', async t => {
      const client = up.client()
      let doneBytes = 0
      const upload = client.uploadResumable(path, {
        key: keyOf('killed'),
        onProgress: progress => (doneBytes = progress.doneBytes)
      })
      upload.catch(() => {})
      const role = await writerOf()
      await up.kill(role)
      t.diagnostic(`${role} was killed at ${Math.round(doneBytes / MIB)} of ${FILM_BYTES / MIB} MiB`)
      ok(doneBytes < FILM_BYTES, 'it was in mid-upload')
      equal((await upload).sizeBytes, FILM_BYTES)
      await stored('killed')
      await untilWhole()
    })

    it('lose nothing that was acknowledged when data workers are killed in mid-append', async () => {
      const client = up.client()
      const upload = await client.uploads.create({ ...keyOf('workers'), sizeBytes: FILM_BYTES })
      let acknowledged = 0
      for (const role of ['storage1', 'storage2'] as const) {
        const before = await client.uploads.status(upload.id)
        ok(before.offsetBytes >= acknowledged)
        acknowledged = before.offsetBytes
        const appending = append(client, before, 40 * MIB, 5)
        appending.catch(() => {})
        await sleep(700)
        await up.killWorkers(role)
        await appending.catch(() => {})
        const { offsetBytes } = await client.uploads.status(upload.id)
        ok(offsetBytes >= acknowledged, `${offsetBytes} bytes are left of ${acknowledged}`)
        acknowledged = offsetBytes
        await untilWhole()
      }
      await append(client, await client.uploads.status(upload.id), FILM_BYTES)
      await client.uploads.commit(upload.id)
      await stored('workers')
    })

    it('have one writer: of two at once one wins, and the file is what one of them sent', async () => {
      const client = up.client()
      const upload = await client.uploads.create({ ...keyOf('two'), sizeBytes: FILM_BYTES })
      const outcomes = await Promise.allSettled([
        append(client, upload, FILM_BYTES, 1),
        sleep(300).then(() => append(up.client(), upload, FILM_BYTES))
      ])
      const codes = outcomes.map(outcome =>
        outcome.status === 'fulfilled' ? 'done' : (outcome.reason as TributaryError).code
      )
      ok(codes.filter(code => code === 'done').length <= 1, `${codes}`)
      ok(
        codes.some(code => code === 'UPLOAD_TAKEN' || code === 'UPLOAD_OFFSET'),
        `${codes}`
      )
      const now = await client.uploads.status(upload.id)
      if (now.offsetBytes < FILM_BYTES) await append(client, now, FILM_BYTES)
      await client.uploads.commit(upload.id)
      await stored('two')
    })

    it('can be read while they come, and go on after the tracker and the ID server were killed', async () => {
      const client = up.client()
      const upload = await client.uploads.create({ ...keyOf('roles'), sizeBytes: FILM_BYTES })
      const half = await append(client, upload, FILM_BYTES / 2)
      const { status, bytes } = await client.uploads.read(upload.id, { start: 12_345, lengthBytes: 1_000 })
      equal(status.offsetBytes, FILM_BYTES / 2)
      ok(bytes.equals(film.subarray(12_345, 13_345)))
      const killed = [await up.kill('tracker'), await up.kill('id')] as const
      await up.untilBack('tracker', killed[0], BACK_WITHIN_MS)
      await up.untilBack('id', killed[1], BACK_WITHIN_MS)
      await append(client, half, FILM_BYTES)
      await client.uploads.commit(upload.id)
      await stored('roles')
    })

    it('go on by the same command after it was killed, and check that the file is the same', async t => {
      const args = ['upload', '--resume', path, '--id', 'by-command', '-u', USER, '-t', up.trackers.join()]
      const env = { XDG_STATE_HOME: join(up.folder, 'state') }
      const notes = join(up.folder, 'state', 'tributary', 'uploads')
      const first = new TributaryProcess(args, { folder: up.folder, env })
      const { id } = await noteOf(notes)
      const client = up.client()
      await until('something has arrived', 20_000, async () => {
        const status = await client.uploads.status(id).catch(() => undefined)
        return status && status.offsetBytes > 0
      })
      first.kill(first.pid)
      await first.ended
      const { offsetBytes } = await client.uploads.status(id)
      t.diagnostic(`killed when ${Math.round(offsetBytes / MIB)} of ${FILM_BYTES / MIB} MiB were there`)
      const [name] = await readdir(notes)
      equal((await stat(join(notes, name!))).mode & 0o777, 0o600)
      const second = new TributaryProcess(args, { folder: up.folder, env })
      const { exitCode } = await second.ended
      equal(exitCode, 0, second.err)
      ok(/are there already/.test(second.err) || offsetBytes === 0, second.err)
      await stored('by-command')
      equal((await readdir(notes)).length, 0)
    })

    it('begin anew by the same command when the file is another one by then', async () => {
      const changing = join(up.folder, 'changing.mkv')
      await writeFile(changing, Buffer.alloc(FILM_BYTES, 1))
      const args = ['upload', '--resume', changing, '--id', 'changed', '-u', USER, '-t', up.trackers.join()]
      const env = { XDG_STATE_HOME: join(up.folder, 'state') }
      const first = new TributaryProcess(args, { folder: up.folder, env })
      const { id } = await noteOf(join(up.folder, 'state', 'tributary', 'uploads'))
      const client = up.client()
      await until('it has begun', 20_000, () =>
        client.uploads.status(id).then(
          () => true,
          () => false
        )
      )
      first.kill(first.pid)
      await first.ended
      await writeFile(changing, film)
      const second = new TributaryProcess(args, { folder: up.folder, env })
      equal((await second.ended).exitCode, 0, second.err)
      match(second.err, /has changed since it was begun/)
      await stored('changed')
      await rejects(client.uploads.status(id), { code: 'UPLOAD_NOT_FOUND' })
    })

    it('refuse to go on with another file', async () => {
      const client = up.client()
      const upload = await client.uploads.create({ ...keyOf('other'), sizeBytes: FILM_BYTES })
      await append(client, upload, 8 * MIB)
      const other = join(up.folder, 'other.mkv')
      await writeFile(other, Buffer.alloc(FILM_BYTES, 1))
      const resume = client.uploadResumable(other, { key: keyOf('other'), id: upload.id, isBegun: true })
      await rejects(resume, { code: 'UPLOAD_CHECKSUM' })
      await client.uploads.abort(upload.id)
      await rejects(client.uploads.status(upload.id), { code: 'UPLOAD_NOT_FOUND' })
    })

    if (engine.name !== 'SQLite') {
      it('go on after the database was dead for a while', async () => {
        const client = up.client()
        const upload = client.uploadResumable(path, { key: keyOf('database') })
        upload.catch(() => {})
        await writerOf()
        backing.mariadb!.kill('SIGKILL')
        await sleep(3_000)
        await backing.mariadb!.restart()
        await upload
        await stored('database')
      })
    }

    it('leave nothing in the volume', async () => {
      await until('the folders are gone', 10_000, async () => (await leftFolders()).length === 0)
    })
  })
}

/** Of the film, from where the upload is, as fast as it goes or with a pause after every piece. */
function append(
  client: Client,
  { id, offsetBytes, fence }: UploadStatus,
  toBytes: number,
  pauseMs = 0
): Promise<UploadStatus> {
  const end = Math.min(FILM_BYTES, toBytes < FILM_BYTES ? offsetBytes + toBytes : FILM_BYTES)
  let at = offsetBytes
  const reader = {
    read: async () => {
      if (at >= end) return undefined
      if (pauseMs > 0) await sleep(pauseMs)
      const piece = film.subarray(at, Math.min(end, at + PIECE_BYTES))
      at += piece.byteLength
      return piece
    }
  }
  return client.uploads.append(id, reader, { offsetBytes, sizeBytes: end - offsetBytes, fence })
}

function noteOf(folder: string): Promise<{ id: string }> {
  return until('a note is there', 20_000, async () => {
    const names = await readdir(folder).catch(() => [])
    const name = names.find(one => one.endsWith('.json'))
    if (name === undefined) return undefined
    const { readFile } = await import('node:fs/promises')
    return JSON.parse(await readFile(join(folder, name), 'utf8')) as { id: string }
  })
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}
