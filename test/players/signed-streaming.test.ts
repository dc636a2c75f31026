/** A film that not everybody may watch: it plays under a signature, from any player, and not without. */
import { after, before, describe, it } from 'node:test'
import { equal, match, notEqual, ok } from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { connect } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { filmPath, signedPath, signFilm, type SigningKey } from '@tributary/client'
import { makeFilm } from '../testkit/film.ts'
import { startPlayableCluster, type PlayableCluster } from '../testkit/gateway.ts'
import { runProgram } from '../testkit/program.ts'
import { missingPrograms } from '../testkit/service.ts'

const FILM = { application: 'media', user: 'public', file: 'private' }
const SECONDS = 8

describe('a private film', { skip: missingPrograms(['ffmpeg', 'ffprobe']), timeout: 120_000 }, () => {
  let system: PlayableCluster
  let folder: string
  let url: string
  let key: SigningKey

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tributary-signed-'))
    system = await startPlayableCluster()
    const { path } = await makeFilm({ seconds: SECONDS, kind: 'faststart' })
    await system.client.upload(path, { key: FILM })
    await system.client.upload(path, { key: { ...FILM, file: 'another' } })
    await system.client.index('applications.setRules', { application: 'media', reads: 'signed' })
    key = await system.client.index('keys.signing', { application: 'media' })
    const tokenPath = join(folder, 'write-token')
    await writeFile(tokenPath, 'the-write-token', { mode: 0o600 })
    url = await system.openGateway({ 'write-token-file': tokenPath })
  })
  after(async () => {
    await system?.stop()
    if (folder) await rm(folder, { recursive: true, force: true })
  })

  const expiresIn = (seconds: number): number => Math.floor(Date.now() / 1_000) + seconds
  const address = (signature: string, tree: 'hls' | 'dash' | 'files', rest = '', film = FILM): string =>
    `${url}${signature === '' ? '' : signedPath(signature, '')}${filmPath(tree, film, rest)}`
  const frames = async (of: string): Promise<{ count: number; exitCode: number | null }> => {
    const counted = ['-v', 'error', '-select_streams', 'v:0', '-count_packets']
    const shown = ['-show_entries', 'stream=nb_read_packets', '-of', 'csv=p=0', of]
    const { stdout, exitCode } = await runProgram('ffprobe', [...counted, ...shown])
    return { count: Number.parseInt(stdout, 10), exitCode }
  }

  it('plays whole under one signature, as a file, as HLS and as DASH', async () => {
    const signature = signFilm(key, { film: FILM, expiresS: expiresIn(60) })
    const { count } = await frames(address(signature, 'files'))
    ok(count > SECONDS * 10)
    equal((await frames(address(signature, 'hls', 'master.m3u8'))).count, count)
    equal((await frames(address(signature, 'dash', 'manifest.mpd'))).count, count)
    const behind = `${address('', 'hls', 'master.m3u8')}?signature=${signature}`
    equal((await frames(behind)).count, count, 'led on from behind the address to in front of it')
  })

  it('does not play without one, with another film’s, with a changed one, or when it has expired', async () => {
    const other = signFilm(key, { film: { ...FILM, file: 'another' }, expiresS: expiresIn(60) })
    const good = signFilm(key, { film: FILM, expiresS: expiresIn(60) })
    const changed = good.slice(0, -1) + (good.endsWith('A') ? 'B' : 'A')
    const short = signFilm(key, { film: FILM, expiresS: expiresIn(-1) })
    for (const signature of ['', other, changed, short]) {
      for (const [tree, rest] of [
        ['files', ''],
        ['hls', 'master.m3u8'],
        ['dash', 'manifest.mpd']
      ] as const) {
        notEqual((await frames(address(signature, tree, rest))).exitCode, 0, `${tree} ${signature}`)
      }
    }
  })

  it('is not had by another spelling of its address', async () => {
    const { hostname, port } = new URL(url)
    const paths = [
      'hls/media/public/private/master.m3u8',
      'dash/media/public/private/manifest.mpd',
      'files/media/public/private'
    ]
    for (const path of paths) {
      const encoded = path.replace(/^./, first => `%${first.charCodeAt(0).toString(16)}`)
      for (const target of [
        `/${path}`,
        `/${encoded}`,
        `/%${encoded.slice(1, 3).toUpperCase()}${path.slice(1)}`,
        `http://localhost/${path}`,
        `http://localhost/${encoded}`,
        `//${path}`,
        `/./${path}`,
        `/x/../${path}`,
        `/${path.replace('media', 'medi%61')}`,
        `/${path.replace('private', 'privat%65')}`,
        `/${path.replaceAll('/', '%2F')}`,
        `/${path.toUpperCase()}`,
        `/signed//${path}`,
        `/signed/x/${path}`,
        `/signed/x/signed/y/${path}`,
        `/${path};x`,
        `/${path}?signature`,
        `/${path}?signature=`,
        `/${path}#x`,
        `/${path}%00`
      ]) {
        const answer = await raw(hostname, Number(port), target)
        const status = Number(answer.split(' ')[1])
        ok(status >= 400 || status === 307, `${target}: ${status}`)
        ok(!answer.includes('#EXTM3U') && !answer.includes('<MPD'), target)
      }
    }
  })

  it('has playlists and segments that no shared cache keeps, and that are the same for every signature', async () => {
    const ask = async (of: string): Promise<{ text: string; headers: Headers }> => {
      const response = await fetch(of)
      equal(response.status, 200, of)
      return { text: await response.text(), headers: response.headers }
    }
    const [one, two] = [60, 90].map(seconds => signFilm(key, { film: FILM, expiresS: expiresIn(seconds) }))
    const master = await ask(address(one!, 'hls', 'master.m3u8'))
    match(master.headers.get('cache-control')!, /^private/)
    equal((await ask(address(two!, 'hls', 'master.m3u8'))).text, master.text)
    ok(!master.text.includes('signed'), 'no signature is in it: the address above keeps it')
    const variant = master.text.split('\n').find(line => line.endsWith('/index.m3u8'))!
    const list = await ask(new URL(variant, address(one!, 'hls', 'master.m3u8')).href)
    match(list.headers.get('cache-control')!, /^private/)
    const segment = list.text.split('\n').find(line => line !== '' && !line.startsWith('#'))!
    const at = new URL(segment, new URL(variant, address(one!, 'hls', 'master.m3u8'))).href
    match((await ask(at)).headers.get('cache-control')!, /^private, .*max-age/)
    equal((await fetch(at.replace(/\/signed\/[^/]+/, ''))).status, 401)
    equal((await fetch(at.replace('/private/', '/another/'))).status, 403)
  })
})

/** A request target as it is: clients would put it right. */
async function raw(host: string, port: number, target: string): Promise<string> {
  const socket = connect(port, host)
  socket.write(`GET ${target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`)
  return text(socket)
}
