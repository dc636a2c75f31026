/** A member that goes for good while others of its group stay: nothing of it is needed any more. */
import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { Client } from '@tributary/client'
import { COMMANDS, encodeFrame, extension, type Address, type LocateReply } from '@tributary/protocol'
import { EXIT } from '@tributary/runtime'
import { Connection } from '@tributary/transport'
import { contentOf } from '../faults/random.ts'
import { WirePeer } from '../faults/wire-peer.ts'
import { cleanUps } from '../testkit/clean-ups.ts'
import { startSmallCluster, type RoleServer } from '../testkit/role-processes.ts'
import { TributaryProcess, until } from '../testkit/tributary-process.ts'

const ACTIVE_WITHIN_MS = 40_000
const GOODBYE_WITHIN_MS = 2_000
/** Clients remember a member for 5 s; what restarts it would do so after one. */
const LEFT_WITHIN_MS = 20_000
const FILM_BYTES = 48 * 1024 * 1024
const SMALL_FILES = 50
const GREETING = { role: 'client', cluster: '', version: '0.0.0' } as const

describe('a member that leaves its group', { timeout: 180_000, concurrency: 2 }, () => {
  it('is handed out no more, ends its transfers, and leaves nothing that another one would need', async t => {
    const { folder, databaseUrl, store, client, stays, leaves, handedOut, reading } = await twoMembers(t)
    leaves.process.send('SIGTERM')
    await until(
      'only the other one is handed out',
      GOODBYE_WITHIN_MS,
      async () => (await handedOut()).join() === String(stays.port)
    )
    ok(leaves.process.isRunning, 'a transfer is in hand')
    await reading.goOn()
    deepEqual(await leaves.process.ended, { exitCode: EXIT.ok, signal: null })

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

  it('does so by the command, which waits for its transfers and refuses to take the last', async t => {
    const { folder, client, stays, leaves, handedOut, reading } = await twoMembers(t)
    const leave = (...flags: string[]): TributaryProcess =>
      new TributaryProcess(['storage', 'leave', ...flags], { folder })
    const port = ['--port', String(leaves.port)]
    // Other storage servers may run on this machine; these two do.
    const either = leave()
    equal((await either.ended).exitCode, 2)
    match(
      either.err,
      new RegExp(`several storage servers run here; say which by --port:[^]*:${leaves.port} `)
    )
    const nobody = leave('--port', '1')
    equal((await nobody.ended).exitCode, 2)
    match(nobody.err, /no storage server runs at port 1 of this machine/)

    const leaving = leave(...port)
    await until(
      'only the other one is handed out',
      LEFT_WITHIN_MS,
      async () => (await handedOut()).join() === String(stays.port)
    )
    // It serves whoever comes all the same: clients remember it for a moment.
    const late = await WirePeer.open(addressOf(leaves))
    await late.upload(keyOf('late'), contentOf('late', 5_000))
    late.close()
    await until('the command waits', LEFT_WITHIN_MS, () => /waiting for 1 transfer\n/.test(leaving.out))
    await new Promise(resolve => setTimeout(resolve, 8_000))
    ok(leaves.process.isRunning && leaving.isRunning, 'a transfer is in hand')
    await reading.goOn()
    deepEqual(await leaves.process.ended, { exitCode: EXIT.left, signal: null })
    equal((await leaving.ended).exitCode, 0, leaving.err)
    match(leaving.out, /leaves group001; nobody is sent there any more\n[^]*it has left after /)
    const fetched = await client.fetch(keyOf('late'))
    ok(fetched.outcome === 'content' && fetched.bytes?.equals(contentOf('late', 5_000)))

    const last = leave('--port', String(stays.port))
    equal((await last.ended).exitCode, 2)
    match(last.err, /is the last that serves group001: without it its files cannot be read/)
    ok(stays.process.isRunning)
    const all = leave('--port', String(stays.port), '--last')
    deepEqual(await stays.process.ended, { exitCode: EXIT.left, signal: null })
    equal((await all.ended).exitCode, 0, all.err)
  })

  it('is cut when the time that the command gives it is over', async t => {
    const { folder, stays, leaves, handedOut, reading } = await twoMembers(t, { stop_timeout_s: 1 })
    const flags = ['--port', String(leaves.port), '--within', '2']
    const leaving = new TributaryProcess(['storage', 'leave', ...flags], { folder })
    equal((await leaves.process.ended).exitCode, EXIT.ok)
    equal((await leaving.ended).exitCode, 0, leaving.err)
    match(leaving.out, /are over: it is stopped\n/)
    ok(await reading.wasCut())
    equal((await handedOut()).join(), String(stays.port))
  })
})

const keyOf = (file: string) => ({ application: 'media', user: 'anna', file })

/** Two members of one group on one store. `leaves` has stored what is there, and is in the middle of sending a film. */
async function twoMembers(t: TestContext, settings: { stop_timeout_s: number } = { stop_timeout_s: 30 }) {
  const afterwards = cleanUps(t)
  const folder = await mkdtemp(join(tmpdir(), 'tributary-leaving-'))
  afterwards(() => rm(folder, { recursive: true, force: true, maxRetries: 3 }))
  const names = ['stays', 'leaves']
  const { databaseUrl, store, tracker, members } = await startSmallCluster(
    folder,
    afterwards,
    names,
    member => ({
      ...settings,
      member,
      heartbeat_s: 0.5
    })
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
  const sent = reader.callStreamed(
    encodeFrame(COMMANDS.FETCH.code, extension.fetch.encode(keyOf('film'))),
    { timeoutMs: 10_000, silenceMs: 60_000 },
    () => (piece, release) => {
      pieces.push(Buffer.from(piece))
      if (isHeld) held.push(release)
      else release()
    }
  )
  sent.catch(() => {}) // heard by whoever asks how it went
  await until('the film is under way', 10_000, () => pieces.length > 0)
  const release = (): void => {
    isHeld = false
    for (const one of held) one()
  }
  const reading = {
    /** Takes the rest, which has to be all of it. */
    async goOn() {
      release()
      await sent
      const whole = Buffer.concat(pieces)
      ok(whole.subarray(whole.byteLength - FILM_BYTES).equals(film))
    },
    async wasCut() {
      release()
      return sent.then(
        () => false,
        () => true
      )
    }
  }
  return { folder, databaseUrl, store, client, stays, leaves, handedOut, reading }
}

function addressOf({ port }: RoleServer): Address {
  return { host: '127.0.0.1', port }
}
