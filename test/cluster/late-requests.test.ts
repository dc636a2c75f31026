/**
 * A storage server that stands still while clients wait: they do elsewhere what they had asked of it. When it goes on it finds
 * their requests in its sockets, and must not carry them out: the names may be other files', or nobody's.
 */
import { deepEqual, equal, ok } from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, it, type TestContext } from 'node:test'
import { Client } from '@tributary/client'
import { openDatabase } from '@tributary/database'
import { contentOf } from '../faults/random.ts'
import { cleanUps } from '../testkit/clean-ups.ts'
import { startSmallCluster } from '../testkit/role-processes.ts'
import { TributaryProcess, until } from '../testkit/tributary-process.ts'

const FILES = 40
const SMALL_BYTES = 2_000
const LARGE_BYTES = 200_000
const ACTIVE_WITHIN_MS = 40_000
/** A frozen server is given up after 2.5 s; a machine that is busy needs longer for all of them. */
const DONE_WITHIN_MS = 20_000
/** What lies in the sockets is read at once. */
const THAW_MS = 1_500

describe('what was asked of a storage server that then stood still', { timeout: 240_000 }, () => {
  it('a delete done elsewhere does not take the next file of the name', async t => {
    const { client, frozen, fsck } = await twoMembers(t)
    const names = await stored(client, 'a', SMALL_BYTES)
    await frozen.freeze()
    await within('deletes', () => all(names, name => client.delete(keyOf(name))))
    await within('uploads', () =>
      all(names, name => client.upload(contentOf(`new ${name}`, SMALL_BYTES), { key: keyOf(name) }))
    )
    await frozen.thaw()
    for (const name of names) {
      const { bytes } = await whole(client, name)
      ok(bytes.equals(contentOf(`new ${name}`, SMALL_BYTES)), `${name} is the later file`)
    }
    await fsck()
  })

  for (const [size, bytes] of [
    ['small', SMALL_BYTES],
    ['large', LARGE_BYTES]
  ] as const) {
    it(`a ${size} upload done elsewhere does not bring back a file that was deleted`, async t => {
      const { client, frozen, fsck } = await twoMembers(t)
      await stored(client, 'warm', bytes) // connections to both are open
      await frozen.freeze()
      const names = await within('uploads', () => stored(client, 'b', bytes))
      await within('deletes', () => all(names, name => client.delete(keyOf(name))))
      await frozen.thaw()
      const { files } = await client.list({ application: 'media', user: 'anna' })
      deepEqual(
        files.map(({ file }) => file).filter(file => file.startsWith('b')),
        []
      )
      await fsck()
    })
  }
})

describe('a name whose file is half deleted', { timeout: 120_000 }, () => {
  it('is free at once for an upload, small or large', async t => {
    const { client, databaseUrl, fsck } = await twoMembers(t)
    const database = await openDatabase([databaseUrl])
    t.after(() => database.close())
    for (const bytes of [SMALL_BYTES, LARGE_BYTES]) {
      const key = keyOf(`half ${bytes}`)
      const { generation } = await client.upload(contentOf('old', bytes), { key })
      // As a member leaves it that dies between the two.
      ok(await database.files.markDeleting(key, generation))
      await client.upload(contentOf('new', bytes), { key })
      ok((await whole(client, key.file)).bytes.equals(contentOf('new', bytes)))
    }
    await fsck()
  })
})

const keyOf = (file: string) => ({ application: 'media', user: 'anna', file })

async function all<T>(names: readonly string[], work: (name: string) => Promise<T>): Promise<T[]> {
  return Promise.all(names.map(work))
}

async function within<T>(what: string, work: () => Promise<T>): Promise<T> {
  const sinceMs = performance.now()
  const result = await work()
  const tookMs = performance.now() - sinceMs
  ok(tookMs < DONE_WITHIN_MS, `the ${what} took ${Math.round(tookMs)} ms`)
  return result
}

async function stored(client: Client, prefix: string, bytes: number): Promise<string[]> {
  const names = Array.from({ length: FILES }, (_, at) => `${prefix}${at}`)
  await all(names, name => client.upload(contentOf(name, bytes), { key: keyOf(name) }))
  return names
}

async function whole(client: Client, file: string): Promise<{ bytes: Buffer }> {
  const { stream } = await client.download(keyOf(file))
  const parts: Buffer[] = []
  for await (const part of stream) parts.push(part as Buffer)
  return { bytes: Buffer.concat(parts) }
}

/** Two members of one group on one store, one of which can be frozen with its workers. */
async function twoMembers(t: TestContext) {
  const afterwards = cleanUps(t)
  const folder = await mkdtemp(join(tmpdir(), 'tributary-late-'))
  afterwards(() => rm(folder, { recursive: true, force: true, maxRetries: 3 }))
  const names = ['frozen', 'lives']
  const { databaseUrl, store, tracker, members } = await startSmallCluster(
    folder,
    afterwards,
    names,
    member => ({
      member,
      heartbeat_s: 0.5
    })
  )
  const [frozen] = members
  const client = new Client({ trackers: [tracker.address], retryForMs: 15_000 })
  afterwards(() => client.close())
  await until('both members are there', ACTIVE_WITHIN_MS, async () => {
    const { groups } = await client.groups()
    return groups[0]?.members.filter(({ status, serving }) => status === 'ACTIVE' && serving).length === 2
  })
  const family: number[] = []
  const signal = (name: 'SIGSTOP' | 'SIGCONT'): void => {
    for (const pid of family) process.kill(pid, name)
  }
  const thaw = async (): Promise<void> => {
    signal('SIGCONT')
    family.length = 0
    await sleep(THAW_MS)
  }
  afterwards(thaw)
  return {
    client,
    databaseUrl,
    frozen: {
      async freeze() {
        family.push(...(await frozen!.process.family()))
        signal('SIGSTOP')
      },
      thaw
    },
    async fsck() {
      const fsck = new TributaryProcess(['fsck', store, '--database', databaseUrl, '--checksums'], { folder })
      equal((await fsck.ended).exitCode, 0, fsck.out)
    }
  }
}
