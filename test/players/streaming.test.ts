import { deepEqual, doesNotMatch, equal, match, ok } from 'node:assert/strict'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { makeFilm, type FilmKind } from '../testkit/film.ts'
import { startPlayableCluster, type PlayableCluster } from '../testkit/gateway.ts'
import { Mpv } from '../testkit/mpv.ts'
import { runProgram } from '../testkit/program.ts'
import { missingPrograms } from '../testkit/service.ts'
import { playInVlc } from '../testkit/vlc.ts'

const skip = missingPrograms(['ffmpeg', 'ffprobe', 'mpv'])
const KINDS: FilmKind[] = ['faststart', 'index-at-end', 'bframes', 'vfr']
const SECONDS = 20
const LAST_SEGMENT = 3
const SUBRIP = '1\n00:00:01,000 --> 00:00:04,000\nHello <b>there</b>\n'

describe('a stored film played as HLS and DASH', { skip, timeout: 240_000 }, () => {
  let system: PlayableCluster
  let folder: string
  const paths = new Map<FilmKind, string>()

  const hls = (file: string): string => `${system.url}/hls/media/public/${file}/master.m3u8`
  const dash = (file: string): string => `${system.url}/dash/media/public/${file}/manifest.mpd`

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tributary-streaming-'))
    system = await startPlayableCluster()
    for (const kind of KINDS) {
      const { path } = await makeFilm({ seconds: SECONDS, kind })
      paths.set(kind, path)
      await system.client.upload(path, { key: { application: 'media', user: 'public', file: kind } })
    }
  })
  after(async () => {
    await system?.stop()
    if (folder) await rm(folder, { recursive: true, force: true })
  })

  /** Hashes of all frames, as ffmpeg decodes them. */
  async function frames(address: string, stream: string): Promise<string[]> {
    const { stdout } = await runProgram('ffmpeg', [
      '-v',
      'error',
      '-nostdin',
      '-i',
      address,
      '-map',
      stream,
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

  for (const kind of KINDS) {
    it(`gives ffmpeg every picture and all sound of the film, by either way (${kind})`, async () => {
      const shown = await frames(paths.get(kind)!, '0:v:0')
      deepEqual(await frames(hls(kind), '0:v:0'), shown)
      deepEqual(await frames(dash(kind), '0:v:0'), shown)
      const heard = await frames(paths.get(kind)!, '0:a:0')
      const packaged = new Set(await frames(hls(kind), '0:a:0'))
      deepEqual(
        heard.filter(hash => !packaged.has(hash)),
        []
      )
    })
  }

  it('shows ffprobe its streams, its length and its size', async () => {
    const entries = 'stream=codec_name,width,height:format=duration'
    const { stdout } = await runProgram('ffprobe', [
      '-v',
      'error',
      '-show_entries',
      entries,
      '-of',
      'json',
      hls('faststart')
    ])
    const { streams, format } = JSON.parse(stdout)
    deepEqual(
      new Set(streams.map(({ codec_name }: { codec_name: string }) => codec_name)),
      new Set(['h264', 'aac'])
    )
    ok(Math.abs(Number(format.duration) - SECONDS) < 0.2, format.duration)
  })

  it('is played through by mpv', async () => {
    const mpv = await Mpv.play(hls('index-at-end'), folder)
    try {
      await mpv.command('set_property', 'speed', 8)
      await mpv.until('time-pos', at => at > SECONDS - 1, 60_000)
    } finally {
      await mpv.quit()
    }
  })

  it('is played through by VLC', { skip: missingPrograms(['vlc']) }, async () => {
    const said = await playInVlc(hls('bframes'), { timeoutMs: (SECONDS + 40) * 1_000 })
    match(said, /Received first picture/)
    for (const track of [1, 2]) match(said, new RegExp(`/${track}/segment-${LAST_SEGMENT}\\.m4s`))
    doesNotMatch(said, /main input error|adaptive demux error|mp4 demux error/)
  })

  it('has its index stored beside it, and other gateways use that one', async () => {
    const key = { application: 'media', user: 'public', file: 'faststart' }
    const { generation } = await system.client.stat(key)
    const index = { ...key, file: `.derived/${generation}/index` }
    const before = await system.client.stat(index)
    const other = await system.openGateway({})
    const answer = await fetch(`${other}/hls/media/public/faststart/master.m3u8`)
    equal(answer.status, 200)
    const metrics = await (await fetch(`${other}/metrics`)).text()
    match(metrics, /tributary_gateway_stream_indexes_total 0/)
    equal((await system.client.stat(index)).generation, before.generation)
  })

  it('gives the same bytes and tags always, from any gateway, to whoever asks for all or a part', async () => {
    const list = await (await fetch(hls('bframes'))).text()
    const tree = new URL(
      list.split('\n').find(line => line.endsWith('/index.m3u8'))!,
      hls('bframes')
    )
    const other = await system.openGateway({})
    for (const name of ['index.m3u8', 'init.mp4', 'segment-0.m4s', 'segment-2.m4s', 'iframe-1.m4s']) {
      const here = await fetch(new URL(name, tree))
      const there = await fetch(new URL(new URL(name, tree).pathname, other))
      equal(here.status, 200, name)
      const bytes = Buffer.from(await here.arrayBuffer())
      deepEqual(Buffer.from(await there.arrayBuffer()), bytes)
      const tag = here.headers.get('etag')!
      match(tag, /^"[0-9a-f]{32}"$/)
      equal(there.headers.get('etag'), tag)
      equal(here.headers.get('cache-control'), 'public, max-age=31536000, immutable')
      equal(here.headers.get('access-control-allow-origin'), '*')
      const part = await fetch(new URL(name, tree), { headers: { range: 'bytes=10-99', 'if-range': tag } })
      equal(part.status, 206)
      equal(part.headers.get('content-range'), `bytes 10-99/${bytes.byteLength}`)
      deepEqual(Buffer.from(await part.arrayBuffer()), bytes.subarray(10, 100))
      const same = await fetch(new URL(name, tree), { headers: { 'if-none-match': tag } })
      equal(same.status, 304)
      const head = await fetch(new URL(name, tree), { method: 'HEAD' })
      equal(head.headers.get('content-length'), String(bytes.byteLength))
      equal(
        (await fetch(new URL(name, tree), { headers: { range: `bytes=${bytes.byteLength}-` } })).status,
        416
      )
    }
    const master = await fetch(hls('bframes'))
    equal(master.headers.get('cache-control'), 'no-cache')
    const again = await fetch(hls('bframes'), { headers: { 'if-none-match': master.headers.get('etag')! } })
    equal(again.status, 304)
  })

  it('has the subtitles that were added, for HLS and DASH players and as a file', async () => {
    const place = `${system.url}/api/v1/films/media/public/vfr`
    const added = await fetch(`${place}/subtitles/en`, {
      method: 'PUT',
      headers: { 'content-type': 'application/x-subrip' },
      body: SUBRIP
    })
    equal(added.status, 200, await added.clone().text())
    const { url } = (await added.json()) as { url: string }
    equal(
      await (await fetch(system.url + url)).text(),
      'WEBVTT\n\n00:00:01.000 --> 00:00:04.000\nHello <b>there</b>\n'
    )
    const master = await (await fetch(hls('vfr'))).text()
    const line = master.split('\n').find(text => text.includes('TYPE=SUBTITLES'))!
    match(line, /LANGUAGE="en"/)
    const list = new URL(/URI="([^"]*)"/.exec(line)![1]!, hls('vfr'))
    const text = await (await fetch(list)).text()
    const file = text.split('\n').find(uri => uri.endsWith('.vtt'))!
    match(
      await (await fetch(new URL(file, list))).text(),
      /^WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:0,LOCAL:00:00:00\.000\n/
    )
    match(await (await fetch(dash('vfr'))).text(), /mimeType="text\/vtt"/)
    const refused = await fetch(`${place}/subtitles/de`, { method: 'PUT', body: Buffer.alloc(1000, 1) })
    equal(refused.status, 415)
  })

  it('is gone with its segments when it is deleted, and another film of its name has other addresses', async () => {
    const put = async (kind: FilmKind): Promise<void> => {
      const body = await readFile(paths.get(kind)!)
      equal((await fetch(system.urlOf('changing'), { method: 'PUT', body })).status, 201)
    }
    await put('faststart')
    const old = await (await fetch(hls('changing'))).text()
    const list = new URL(
      old.split('\n').find(line => line.endsWith('/index.m3u8'))!,
      hls('changing')
    )
    const segment = new URL('segment-0.m4s', list)
    equal((await fetch(segment)).status, 200)
    equal((await fetch(system.urlOf('changing'), { method: 'DELETE' })).status, 204)
    await until(async () => (await fetch(segment)).status === 404)
    equal((await fetch(hls('changing'))).status, 404)
    await put('bframes')
    equal((await fetch(hls('changing'))).status, 200)
    await until(async () => (await fetch(segment)).status === 404)
    ok(!(await (await fetch(hls('changing'))).text()).includes(/[0-9a-f]{32}/.exec(old)![0]))
  })
})

async function until(holds: () => Promise<boolean>): Promise<void> {
  const endMs = performance.now() + 5_000
  while (!(await holds())) {
    if (performance.now() > endMs) throw new Error('it never was so')
    await new Promise(resolve => setTimeout(resolve, 100))
  }
}
