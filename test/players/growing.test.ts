/** A film that is watched while it is still being uploaded, and on, when it is whole. */
import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { makeFilm } from '../testkit/film.ts'
import { startPlayableCluster, type PlayableCluster } from '../testkit/gateway.ts'
import { runProgram } from '../testkit/program.ts'
import { missingPrograms } from '../testkit/service.ts'

const skip = missingPrograms(['ffmpeg'])
const SECONDS = 60
/** An index of what has come is made anew at most so often. */
const AGAIN_MS = 4_200
const OWNER = { application: 'media', user: 'public' }

describe('a film that is still being uploaded', { skip, timeout: 240_000 }, () => {
  let system: PlayableCluster
  let folder: string
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tributary-growing-'))
    system = await startPlayableCluster()
  })
  after(async () => {
    await system?.stop()
    if (folder) await rm(folder, { recursive: true, force: true })
  })

  const get = async (url: string): Promise<{ status: number; body: Buffer }> => {
    const response = await fetch(url)
    return { status: response.status, body: Buffer.from(await response.arrayBuffer()) }
  }
  const text = async (url: string): Promise<string> => {
    const { status, body } = await get(url)
    equal(status, 200, `${url} ${body}`)
    return body.toString()
  }
  const addresses = (list: string, base: string): string[] =>
    list
      .split('\n')
      .filter(line => line !== '' && !line.startsWith('#'))
      .map(line => new URL(line, base).href)
  const hashes = async (path: string): Promise<string[]> => {
    const { stdout } = await runProgram('ffmpeg', [
      '-v',
      'error',
      '-nostdin',
      '-i',
      path,
      '-map',
      '0:v:0',
      '-fps_mode',
      'passthrough',
      '-f',
      'framemd5',
      '-'
    ])
    return stdout
      .split('\n')
      .filter(line => line !== '' && !line.startsWith('#'))
      .map(line => line.split(',').at(-1)!.trim())
  }
  const fragmented = async (): Promise<string> => {
    const { path } = await makeFilm({ seconds: SECONDS, kind: 'faststart' })
    const target = join(folder, 'fragmented.mp4')
    const flags = ['-c', 'copy', '-movflags', 'frag_keyframe+empty_moov+default_base_moof']
    await runProgram('ffmpeg', ['-v', 'error', '-nostdin', '-y', '-i', path, ...flags, target])
    return target
  }

  for (const kind of ['faststart', 'fragmented'] as const) {
    it(`plays as far as it has come, and then to its end, at the same address (${kind})`, async () => {
      const path =
        kind === 'fragmented' ? await fragmented() : (await makeFilm({ seconds: SECONDS, kind })).path
      const film = await readFile(path)
      const { uploads } = system.client
      const master = `${system.url}/hls/media/public/${kind}/master.m3u8`
      equal((await get(master)).status, 404)
      let upload = await uploads.create({ ...OWNER, file: kind, sizeBytes: film.byteLength })
      const append = async (end: number): Promise<void> => {
        let content: Buffer | undefined = film.subarray(upload.offsetBytes, end)
        const sizeBytes = content.byteLength
        const read = async (): Promise<Buffer | undefined> => {
          const given = content
          content = undefined
          return given
        }
        upload = await uploads.append(upload.id, { read }, { offsetBytes: upload.offsetBytes, sizeBytes })
      }
      await append(Math.floor(film.byteLength / 2))
      const listUrl = addresses(await text(master), master)[0]!
      ok(listUrl.includes(upload.id), 'its address has the upload, not a generation')
      const list = await text(listUrl)
      match(list, /#EXT-X-PLAYLIST-TYPE:EVENT/)
      ok(!list.includes('#EXT-X-ENDLIST'))
      const early = addresses(list, listUrl)
      ok(early.length >= 2 && early.length <= SECONDS / 6 - 1, `${early.length} segments`)
      const [, map] = /#EXT-X-MAP:URI="([^"]+)"/.exec(list)!
      const parts = [(await get(new URL(map!, listUrl).href)).body]
      for (const url of early) parts.push((await get(url)).body)
      const shown = join(folder, `${kind}-shown.mp4`)
      await writeFile(shown, Buffer.concat(parts))
      const frames = await hashes(path)
      const first = await hashes(shown)
      ok(first.length > 100)
      deepEqual(first, frames.slice(0, first.length))
      const next = early.at(-1)!.replace(/\d+(?=\.m4s$)/, number => String(Number(number) + 2))
      equal((await get(next)).status, 404)

      await append(Math.floor(film.byteLength * 0.8))
      await sleep(AGAIN_MS)
      ok(addresses(await text(listUrl), listUrl).length > early.length)
      await append(film.byteLength)
      await uploads.commit(upload.id)

      const whole = await text(listUrl)
      match(whole, /#EXT-X-ENDLIST/)
      const all = addresses(whole, listUrl)
      deepEqual(all.slice(0, early.length), early)
      for (const [at, url] of early.entries()) ok((await get(url)).body.equals(parts[at + 1]!), url)
      const joined = [parts[0]!]
      for (const url of all) joined.push((await get(url)).body)
      await writeFile(shown, Buffer.concat(joined))
      deepEqual(await hashes(shown), frames)
      ok(!(await text(master)).includes(upload.id), 'whoever comes now gets the film itself')
    })
  }

  it('is not there before there is enough of it, or where its index stands at the end', async () => {
    const { path } = await makeFilm({ seconds: 20, kind: 'index-at-end' })
    const film = await readFile(path)
    const { uploads } = system.client
    const created = await uploads.create({ ...OWNER, file: 'late', sizeBytes: film.byteLength })
    const half = film.subarray(0, film.byteLength / 2)
    let given = false
    const read = async (): Promise<Buffer | undefined> => (given ? undefined : ((given = true), half))
    await uploads.append(created.id, { read }, { offsetBytes: 0, sizeBytes: half.byteLength })
    const below = `${system.url}/hls/media/public/late`
    equal((await get(`${below}/master.m3u8`)).status, 404)
    equal((await get(`${below}/${created.id}/v1-original/1/index.m3u8`)).status, 404)
    equal(
      (await get(`${system.url}/hls/media/public/other/${created.id}/v1-original/1/index.m3u8`)).status,
      404
    )
  })
})
