import { equal, notEqual, ok } from 'node:assert/strict'
import { createHash, type Hash } from 'node:crypto'
import { once } from 'node:events'
import { openAsBlob } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { makeFilm } from '../testkit/film.ts'
import { startPlayableCluster, type PlayableCluster } from '../testkit/gateway.ts'
import { Mpv } from '../testkit/mpv.ts'
import { startProgram } from '../testkit/program.ts'
import { missingPrograms } from '../testkit/service.ts'

const skip = missingPrograms(['ffmpeg', 'mpv', 'curl'])

/** Copies of the film in one file: more than all buffers on the way hold, so that a slow reader keeps storage busy. */
const COPIES = 10

describe('while storage servers are killed one after the other', { skip, timeout: 120_000 }, () => {
  let system: PlayableCluster
  let folder: string
  let long: Buffer

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tributary-failover-'))
    const { path } = await makeFilm({ seconds: 60 })
    const film = await readFile(path)
    long = Buffer.concat(Array.from({ length: COPIES }, () => film))
    system = await startPlayableCluster()
    for (const [file, body] of [
      ['film', await openAsBlob(path)],
      ['long', long]
    ] as const) {
      equal((await fetch(system.urlOf(file), { method: 'PUT', body })).status, 201)
    }
  })
  after(async () => {
    await system?.stop()
    if (folder) await rm(folder, { recursive: true, force: true })
  })

  it('a slow reader gets every byte', async () => {
    const response = await fetch(system.urlOf('long'))
    const [reached, ended] = readAt(response, 40_000_000)
    await killEachInTurn(system, reached)
    const { sha256, bytes } = await ended
    equal(bytes, long.byteLength)
    equal(sha256, createHash('sha256').update(long).digest('hex'))
    ok(survived(system) > 0, 'the transfer went on elsewhere')
  })

  it('a slow reader of a range gets every byte of it', async () => {
    const start = 12_345_678
    const response = await fetch(system.urlOf('long'), { headers: { Range: `bytes=${start}-` } })
    equal(response.status, 206)
    const before = survived(system)
    const [reached, ended] = readAt(response, 40_000_000)
    await killEachInTurn(system, reached)
    const { sha256, bytes } = await ended
    equal(bytes, long.byteLength - start)
    equal(sha256, createHash('sha256').update(long.subarray(start)).digest('hex'))
    ok(survived(system) > before, 'the transfer went on elsewhere')
  })

  it('curl notices nothing', async () => {
    const target = join(folder, 'curl')
    const curl = startProgram('curl', ['-sSf', '--limit-rate', '40M', '-o', target, system.urlOf('long')])
    const gone = once(curl, 'exit')
    await killEachInTurn(system, () => (curl.exitCode === null ? 1 : 0))
    equal((await gone)[0], 0)
    ok(long.equals(await readFile(target)))
  })

  it('mpv plays on, and seeks', async t => {
    const mpv = await Mpv.play(system.urlOf('film'), folder)
    t.after(() => mpv.quit())
    await mpv.until('time-pos', value => value > 0.5)
    const [first, second] = system.members
    for (const [member, seekTo] of [
      [first!, 42],
      [second!, 20]
    ] as const) {
      await member.kill()
      const from = (await mpv.number('time-pos')) ?? 0
      await mpv.until('time-pos', value => value > from + 0.7)
      await mpv.command('seek', seekTo, 'absolute', 'exact')
      const reached = await mpv.until('time-pos', value => Math.abs(value - seekTo) < 2)
      await mpv.until('time-pos', value => value > reached + 0.5)
      await member.start()
    }
  })

  it('with none left a request is told so in words, and the film plays again when one is back', async () => {
    const [first, second] = system.members
    await Promise.all([first!.kill(), second!.kill()])
    const response = await fetch(system.urlOf('film'), { headers: { Range: 'bytes=5-9' } })
    ok([502, 503, 504].includes(response.status), `${response.status}`)
    const { detail } = (await response.json()) as { detail: string }
    notEqual(detail, '')
    await Promise.all([first!.start(), second!.start()])
    const again = await fetch(system.urlOf('film'), { headers: { Range: 'bytes=5-9' } })
    equal(again.status, 206)
    ok(long.subarray(5, 10).equals(Buffer.from(await again.arrayBuffer())))
  })
})

/** Whichever member a transfer is using, it loses it: each is killed, and is back before the other one is. */
async function killEachInTurn(system: PlayableCluster, reached: () => number): Promise<void> {
  for (const member of system.members) {
    await sleep(300)
    ok(reached() > 0, 'the transfer is under way')
    await member.kill()
    await sleep(300)
    await member.start()
  }
}

/** How often a transfer lost its server and went on with another one. */
function survived(system: PlayableCluster): number {
  return system.logged.filter(line => line.includes('"level":"warn"')).length
}

/** Takes so many bytes a second. @returns the bytes so far (0: ended), and what came in the end. */
function readAt(
  response: Response,
  bytesPerS: number
): [reached: () => number, ended: Promise<{ sha256: string; bytes: number }>] {
  const hash: Hash = createHash('sha256')
  let bytes = 0
  let done = false
  const read = async (): Promise<{ sha256: string; bytes: number }> => {
    const startMs = performance.now()
    for await (const chunk of response.body!) {
      hash.update(chunk)
      bytes += chunk.byteLength
      const aheadMs = (bytes / bytesPerS) * 1_000 - (performance.now() - startMs)
      if (aheadMs > 20) await sleep(aheadMs)
    }
    done = true
    return { sha256: hash.digest('hex'), bytes }
  }
  const ended = read()
  ended.catch(() => {}) // the test awaits it later
  return [() => (done ? 0 : bytes), ended]
}
