import { deepEqual, equal, ok } from 'node:assert/strict'
import { once } from 'node:events'
import { openAsBlob } from 'node:fs'
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { makeFilm } from '../testkit/film.ts'
import { startPlayableCluster, type PlayableCluster } from '../testkit/gateway.ts'
import { runProgram, startProgram } from '../testkit/program.ts'
import { missingPrograms } from '../testkit/service.ts'

const skip = missingPrograms(['ffmpeg', 'curl', 'wget'])

describe('a film that is downloaded', { skip, timeout: 120_000 }, () => {
  let system: PlayableCluster
  let folder: string
  let film: Buffer
  let url: string

  before(async () => {
    const { path } = await makeFilm({ seconds: 60 })
    folder = await mkdtemp(join(tmpdir(), 'tributary-download-'))
    film = await readFile(path)
    system = await startPlayableCluster()
    url = system.urlOf('film.mp4')
    const put = await fetch(url, { method: 'PUT', body: await openAsBlob(path) })
    equal(put.status, 201)
  })
  after(async () => {
    await system?.stop()
    if (folder) await rm(folder, { recursive: true, force: true })
  })

  it('by curl is the film, byte for byte', async () => {
    const target = join(folder, 'curl-whole.mp4')
    equal((await runProgram('curl', ['-sSf', '-o', target, url])).exitCode, 0)
    ok(film.equals(await readFile(target)))
  })

  it('by curl in ranges is those bytes of it', async () => {
    for (const [range, expected] of [
      ['0-0', film.subarray(0, 1)],
      ['1000000-3999999', film.subarray(1_000_000, 4_000_000)],
      ['20000000-', film.subarray(20_000_000)],
      ['-12345', film.subarray(-12_345)]
    ] as const) {
      const target = join(folder, `curl-${range}`)
      const { stdout } = await runProgram('curl', [
        '-sSf',
        '-r',
        range,
        '-w',
        '%{http_code}',
        '-o',
        target,
        url
      ])
      equal(stdout, '206')
      ok(expected.equals(await readFile(target)), range)
    }
  })

  it('by curl in several ranges at once has each of them', async () => {
    const { stdout } = await runProgram('curl', ['-sSf', '-r', '4-11,100-103', url])
    ok(stdout.includes(`Content-Range: bytes 4-11/${film.byteLength}`))
    ok(stdout.includes(film.subarray(4, 11).toString('latin1')))
  })

  it('by curl goes on where it was cut', async () => {
    const target = join(folder, 'curl-resumed.mp4')
    const bytes = await cutDownload('curl', ['-sS', '--limit-rate', '4M', '-o', target, url], target)
    ok(bytes < film.byteLength)
    const { stdout } = await runProgram('curl', [
      '-sSf',
      '-C',
      '-',
      '-w',
      '%{http_code} %{size_download}',
      '-o',
      target,
      url
    ])
    equal(stdout, `206 ${film.byteLength - bytes}`)
    ok(film.equals(await readFile(target)))
  })

  it('by wget goes on where it was cut, and again, until it is whole', async () => {
    const target = join(folder, 'wget.mp4')
    let bytes = 0
    for (let cut = 1; cut <= 2; cut++) {
      const reached = await cutDownload(
        'wget',
        ['-q', '-c', '--limit-rate=6m', '-O', target, url],
        target,
        bytes
      )
      ok(reached > bytes && reached < film.byteLength)
      bytes = reached
    }
    const before = system.requests.length
    const { exitCode, stderr } = await runProgram('wget', ['-c', '--no-verbose', '-O', target, url])
    equal(exitCode, 0, stderr)
    deepEqual(
      system.requests.slice(before).map(({ rangeStart }) => rangeStart),
      [bytes]
    )
    ok(film.equals(await readFile(target)))
    // Once it is whole nothing is left to do, and wget knows that as a success.
    equal((await runProgram('wget', ['-c', '-q', '-O', target, url])).exitCode, 0)
    ok(film.equals(await readFile(target)))
  })

  it('by four curls at a time is the film each time', async () => {
    const targets = [1, 2, 3, 4].map(number => join(folder, `curl-${number}.mp4`))
    const ends = await Promise.all(targets.map(path => runProgram('curl', ['-sSf', '-o', path, url])))
    deepEqual(
      ends.map(({ exitCode }) => exitCode),
      [0, 0, 0, 0]
    )
    for (const path of targets) ok(film.equals(await readFile(path)))
  })

  it('through the client library is the film, too', async () => {
    const path = join(folder, 'library.mp4')
    await system.client.downloadToFile({ application: 'media', user: 'public', file: 'film.mp4' }, path)
    ok(film.equals(await readFile(path)))
  })
})

/** Starts a download and kills it in the middle. @returns bytes on disk. */
async function cutDownload(program: string, args: string[], target: string, fromBytes = 0): Promise<number> {
  const child = startProgram(program, args)
  const gone = once(child, 'exit')
  const endMs = performance.now() + 20_000
  const size = async (): Promise<number> => (await stat(target).catch(() => ({ size: 0 }))).size
  while ((await size()) < fromBytes + 2_000_000) {
    if (child.exitCode !== null) throw new Error(`${program} ended with ${child.exitCode} before it was cut`)
    if (performance.now() > endMs) throw new Error(`${program} brought nothing`)
    await sleep(20)
  }
  child.kill('SIGKILL')
  await gone
  return size()
}
