/** A member that goes for good while others of its group stay: nothing of it is needed any more. */
import { deepEqual, equal, ok } from 'node:assert/strict'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { Client } from '@tributary/client'
import { COMMANDS, encodeFrame, extension, type Address, type LocateReply } from '@tributary/protocol'
import { Connection } from '@tributary/transport'
import { contentOf } from '../faults/random.ts'
import { WirePeer } from '../faults/wire-peer.ts'
import { cleanUps } from '../testkit/clean-ups.ts'
import { startRole, type RoleServer } from '../testkit/role-processes.ts'
import { TributaryProcess, until } from '../testkit/tributary-process.ts'

const ACTIVE_WITHIN_MS = 40_000
const GOODBYE_WITHIN_MS = 2_000
const FILM_BYTES = 48 * 1024 * 1024
const SMALL_FILES = 50
const GREETING = { role: 'client', cluster: '', version: '0.0.0' } as const

describe('a member that leaves its group', { timeout: 180_000 }, () => {
  it('is handed out no more, ends its transfers, and leaves nothing that another one would need', async t => {
    const afterwards = cleanUps(t)
    const folder = await mkdtemp(join(tmpdir(), 'tributary-leaving-'))
    afterwards(() => rm(folder, { recursive: true, force: true, maxRetries: 3 }))
    const databaseUrl = `sqlite:${join(folder, 'index.db')}`
    const store = join(folder, 'store')
    for (const args of [
      ['db', 'migrate'],
      ['db', 'add-application', 'media'],
      ['storage', 'init', store]
    ]) {
      const command = new TributaryProcess([...args, '--database', databaseUrl], { folder })
      equal((await command.ended).exitCode, 0, command.err)
    }
    const start = async (...args: Parameters<typeof startRole>): Promise<RoleServer> => {
      const server = await startRole(...args)
      afterwards(() => server.stop())
      return server
    }
    const common = { database: [databaseUrl] }
    const tracker = await start('tracker', 'tracker', folder, common)
    const ids = await start('id', 'id', folder, common)
    const members = await Promise.all(
      ['stays', 'leaves'].map(member =>
        start('storage', member, folder, {
          ...common,
          member,
          stores: [store],
          trackers: [tracker.address],
          id_servers: [ids.address],
          reserve_bytes: '1MiB',
          heartbeat_s: 0.5,
          stop_timeout_s: 30
        })
      )
    )
    const [stays, leaves] = members as [RoleServer, RoleServer]
    const client = new Client({ trackers: [tracker.address] })
    afterwards(() => client.close())
    const located = await Connection.open('tracker', addressOf(tracker), { timeoutMs: 5_000 })
    afterwards(() => located.destroy())
    await located.greet(GREETING, { timeoutMs: 5_000 })
    const handedOut = async (): Promise<number[]> => {
      const request = extension.locate.encode({ application: 'media', user: 'anna', file: '' })
      const body = await located.call(encodeFrame(COMMANDS.LOCATE.code, request), { timeoutMs: 5_000 })
      const reply: LocateReply = extension.locateReply.decode(body)
      return reply.addresses.map(({ port }) => port).sort((a, b) => a - b)
    }
    const both = [stays.port, leaves.port].sort((a, b) => a - b)
    await until('both are handed out', ACTIVE_WITHIN_MS, async () =>
      handedOut().then(
        ports => ports.join() === both.join(),
        () => false
      )
    )

    const keyOf = (file: string) => ({ application: 'media', user: 'anna', file })
    const film = contentOf('film', FILM_BYTES)
    const peer = await WirePeer.open(addressOf(leaves))
    afterwards(() => peer.close())
    await peer.upload(keyOf('film'), film)
    // Durable in its redo log, and in the files, which nobody has synced yet.
    await Promise.all(
      Array.from({ length: SMALL_FILES }, async (_, at) => {
        const own = await WirePeer.open(addressOf(leaves))
        await own.upload(keyOf(`small ${at}`), contentOf(`small ${at}`, 3_000 + at))
        own.close()
      })
    )
    const reader = await Connection.open('storage', addressOf(leaves), { timeoutMs: 5_000 })
    afterwards(() => reader.destroy())
    await reader.greet(GREETING, { timeoutMs: 5_000 })
    const pieces: Buffer[] = []
    const held: (() => void)[] = []
    let isHeld = true
    const request = extension.fetch.encode(keyOf('film'))
    const reading = reader.callStreamed(
      encodeFrame(COMMANDS.FETCH.code, request),
      { timeoutMs: 10_000, silenceMs: 30_000 },
      () => (piece, release) => {
        pieces.push(Buffer.from(piece))
        if (isHeld) held.push(release)
        else release()
      }
    )
    await until('the film is under way', 10_000, () => pieces.length > 0)

    leaves.process.send('SIGTERM')
    await until(
      'only the other one is handed out',
      GOODBYE_WITHIN_MS,
      async () => (await handedOut()).join() === String(stays.port)
    )
    ok(leaves.process.isRunning, 'a transfer is in hand')
    isHeld = false
    for (const release of held) release()
    await reading
    const whole = Buffer.concat(pieces)
    ok(whole.subarray(whole.byteLength - FILM_BYTES).equals(film))
    deepEqual(await leaves.process.ended, { exitCode: 0, signal: null })

    // What it wrote under its name is not needed any more, neither by a start of its own nor by anybody else.
    for (const name of ['.redo', '.tmp']) {
      for (const writer of await readdir(join(store, name))) {
        if (writer.startsWith('leaves.')) await rm(join(store, name, writer), { recursive: true })
      }
    }
    for (let at = 0; at < SMALL_FILES; at++) {
      const fetched = await client.fetch(keyOf(`small ${at}`))
      ok(fetched.outcome === 'content' && fetched.bytes?.equals(contentOf(`small ${at}`, 3_000 + at)))
    }
    const fsck = new TributaryProcess(['fsck', store, '--database', databaseUrl, '--checksums'], { folder })
    equal((await fsck.ended).exitCode, 0, fsck.out)
  })
})

function addressOf({ port }: RoleServer): Address {
  return { host: '127.0.0.1', port }
}
