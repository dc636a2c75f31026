import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { describe, it, type TestContext } from 'node:test'
import { argumentsOf, childrenOf, until } from '../../../test/testkit/tributary-process.ts'
import { FilmAccess } from '../src/film-access.ts'
import { FilmServer } from '../src/film-server.ts'
import { inputArgs } from '../src/ffmpeg-input.ts'
import { FfmpegError, runFfmpeg, type FfmpegRun } from '../src/ffmpeg-run.ts'
import { parseProfile, profilesFor, sizeFor } from '../src/profile.ts'
import { TempFolder } from '../src/temp-folder.ts'
import { planThumbnails, thumbnailCues } from '../src/thumbnails.ts'
import { cardArgs, run } from './running-worker.ts'

const PATH = process.env['PATH'] ?? ''
const LIMITS = { threads: 1, memoryBytes: 2 * 1024 ** 3, niceness: 10 }
const KEY = { application: 'media', user: 'public', file: 'film' }

async function folder(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'tributary-bounds-'))
  t.after(() => rm(path, { recursive: true, force: true }))
  return path
}

/** A film in memory, behind the server that ffmpeg reads from. */
async function served(
  t: TestContext,
  bytes: Buffer
): Promise<{ url: string; server: FilmServer; close: () => void }> {
  const cluster = {
    fetch: () => Promise.reject(new Error('not used')),
    download: async (_key: unknown, { start = 0, end = bytes.byteLength - 1 }) => ({
      stream: Readable.from([bytes.subarray(start, end + 1)])
    })
  }
  const film = { key: KEY, generation: '0'.repeat(32), sizeBytes: bytes.byteLength }
  const server = new FilmServer()
  await server.start()
  t.after(() => server.stop())
  const access = new FilmAccess(film, cluster as never, new AbortController().signal)
  const { url, close } = server.serve(access)
  return { url, server, close }
}

describe('profiles', () => {
  it('are known by name, or told in numbers, and nothing else', () => {
    equal(parseProfile('720p').height, 720)
    deepEqual(parseProfile('540p:540:2000:128'), {
      name: '540p',
      height: 540,
      videoKbit: 2000,
      audioKbit: 128
    })
    for (const text of [
      '',
      'HD',
      '721p',
      '540p:540',
      '540p:541:2000:128',
      '../x:540:2000:128',
      '540p:540:2000:9'
    ])
      try {
        parseProfile(text)
        ok(false, text)
      } catch (error) {
        match((error as Error).message, /1080p, 720p/)
      }
  })

  it('are never larger than the film', () => {
    const profiles = ['360p', '1080p', '720p', '480p'].map(parseProfile)
    const namesFor = (width: number, height: number, playsEverywhere = true): string[] =>
      profilesFor(profiles, { width, height, playsEverywhere }).map(({ name }) => name)
    deepEqual(namesFor(1920, 1080), ['720p', '480p', '360p'])
    deepEqual(namesFor(1080, 1920), ['720p', '480p', '360p'])
    deepEqual(namesFor(1920, 1080, false), ['1080p', '720p', '480p', '360p'])
    deepEqual(namesFor(1280, 534), ['480p', '360p'])
    deepEqual(namesFor(320, 240), [])
    deepEqual(namesFor(320, 240, false), ['360p'])
    deepEqual(namesFor(7680, 4320, false), ['1080p', '720p', '480p', '360p'])
    deepEqual(sizeFor(parseProfile('360p'), { width: 320, height: 241 }), { width: 320, height: 242 })
    deepEqual(sizeFor(parseProfile('720p'), { width: 1080, height: 1920 }), { width: 720, height: 1280 })
    deepEqual(sizeFor(parseProfile('480p'), { width: 1998, height: 1080 }), { width: 888, height: 480 })
  })
})

describe('thumbnails', () => {
  it('are as many as tell something, and no more than fit', () => {
    const wide = { width: 1920, height: 1080 }
    for (const durationS of [0.5, 3, 59.94, 600, 7_200, 86_400, 600_000]) {
      const plan = planThumbnails(durationS, wide)
      ok(plan.count >= 1 && plan.count <= 240)
      ok(plan.count * plan.intervalS >= durationS - plan.intervalS, `${durationS} s are covered`)
      ok(plan.columns * plan.rows >= plan.count && plan.columns <= 10)
      const cues = thumbnailCues(plan, durationS).trimEnd().split('\n\n')
      equal(cues.shift(), 'WEBVTT')
      equal(cues.length, plan.count)
      for (const cue of cues) {
        const [, x, y, width, height] = /#xywh=(\d+),(\d+),(\d+),(\d+)$/.exec(cue)!.map(Number)
        ok(x! + width! <= plan.columns * plan.width && y! + height! <= plan.rows * plan.height)
      }
    }
    deepEqual(planThumbnails(7_200, wide), {
      count: 240,
      intervalS: 30,
      columns: 10,
      rows: 24,
      width: 160,
      height: 90
    })
    const tall = planThumbnails(10, { width: 1080, height: 1920 })
    deepEqual([tall.width, tall.height], [90, 160])
  })
})

describe('the server that programs read films from', () => {
  it('answers ranges under an address that lives as long as the job, and nothing else', async t => {
    const bytes = Buffer.from('0123456789')
    const { url, close } = await served(t, bytes)
    const ask = (range?: string): Promise<Response> =>
      fetch(url, range === undefined ? {} : { headers: { range } })
    equal(await (await ask()).text(), '0123456789')
    const part = await ask('bytes=3-5')
    deepEqual(
      [part.status, part.headers.get('content-range'), await part.text()],
      [206, 'bytes 3-5/10', '345']
    )
    equal(await (await ask('bytes=8-')).text(), '89')
    for (const range of ['bytes=10-', 'bytes=5-3', 'bytes=-2', 'x'])
      equal((await ask(range)).status, 416, range)
    equal((await fetch(url, { method: 'POST' })).status, 404)
    equal((await fetch(`${url}x`)).status, 404)
    equal((await fetch(new URL('/', url))).status, 404)
    close()
    equal((await ask()).status, 404)
  })

  it(
    'knows who asks: another user of the machine gets nothing',
    { skip: userInfo().uid !== 0 && 'needs root' },
    async t => {
      const { url } = await served(t, Buffer.from('secret'))
      const ask = async (...as: string[]): Promise<string> => {
        const [program, ...args] = [...as, 'curl', '-s', '-o', '/dev/null', '-w', '%{http_code}', url]
        return (await run(program!, args)).stdout
      }
      equal(await ask(), '200')
      equal(await ask('setpriv', '--reuid', '65534', '--clear-groups'), '404')
    }
  )
})

describe('the folder where renditions are made', () => {
  it('is one worker’s, empty when it starts, and gone when it stops', async t => {
    const home = await folder(t)
    const parent = join(home, 'deep', 'down')
    await mkdir(join(parent, 'w1', 'job-left'), { recursive: true })
    await mkdir(join(parent, 'w2'))
    await writeFile(join(parent, 'w1', 'job-left', 'half.mp4'), 'half')
    await writeFile(join(parent, 'w2', 'other'), 'of another worker')
    const temp = await TempFolder.take(parent, 'w1')
    deepEqual(await readdir(join(parent, 'w1')), [])
    deepEqual(await readdir(join(parent, 'w2')), ['other'])
    await rejects(TempFolder.take(parent, 'w1', 200), /another worker works in/)
    const waiting = TempFolder.take(parent, 'w1')
    const job = await temp.folder()
    equal((await stat(job)).mode & 0o777, 0o700)
    ok((await temp.freeBytes()) > 0)
    await temp.release()
    // Whoever came meanwhile has it now.
    await (await waiting).release()
    deepEqual(await readdir(parent), ['w2'], 'what was there before stays')
    const again = await TempFolder.take(join(home, 'new', 'place'), 'w1')
    await again.release()
    deepEqual((await readdir(home)).toSorted(), ['deep'])
  })
})

describe('a run of ffmpeg', { timeout: 120_000 }, () => {
  const ffmpeg = (
    place: string,
    given: Partial<FfmpegRun> & { args: string[] },
    limits = LIMITS
  ): Promise<Buffer> =>
    runFfmpeg({ command: 'ffmpeg', path: PATH }, limits, {
      folder: place,
      timeoutMs: 60_000,
      outputBytesMax: 50 * 1024 ** 2,
      signal: new AbortController().signal,
      ...given
    })
  const endless = '-f lavfi -i testsrc2=size=640x360:rate=30 -c:v libx264 -preset medium'.split(' ')
  const is = (kind: FfmpegError['kind'], words: RegExp) => (error: Error) => {
    ok(error instanceof FfmpegError, error.stack)
    equal(error.kind, kind)
    match(error.message, words)
    return true
  }

  it('ends at the bounds of time, CPU and bytes, and says so', async t => {
    const place = await folder(t)
    const beganMs = performance.now()
    await rejects(
      ffmpeg(place, { args: [...endless, '-f', 'null', '-'], timeoutMs: 1_500 }),
      is('bound', /longer than 2 s|more CPU time/)
    )
    ok(performance.now() - beganMs < 20_000)
    await rejects(
      ffmpeg(place, { args: [...endless, '-f', 'mpegts', 'out.ts'], outputBytesMax: 200_000 }),
      is('bound', /more room for its output/)
    )
    ok((await stat(join(place, 'out.ts'))).size <= 200_000)
    await rejects(
      ffmpeg(place, { args: [...endless, '-c:v', 'rawvideo', '-f', 'rawvideo', 'pipe:1'] }),
      is('bound', /bytes of output/)
    )
    // What demands more memory than it may have fails, or gets nowhere until its time is over.
    const huge = '-f lavfi -i testsrc2=size=15000x15000:rate=30 -frames:v 4 -f null -'.split(' ')
    const tight = { ...LIMITS, memoryBytes: 512 * 1024 ** 2 }
    await rejects(ffmpeg(place, { args: huge, timeoutMs: 3_000 }, tight), FfmpegError)
  })

  it('is gone when its job is dropped', async t => {
    const place = await folder(t)
    const dropped = new AbortController()
    const running = ffmpeg(place, { args: [...endless, '-f', 'null', '-'], signal: dropped.signal })
    setTimeout(() => dropped.abort(new Error('cancelled')), 500)
    await rejects(running, /cancelled/)
  })

  it('reads the film that it is given, and no other file and address', async t => {
    const place = await folder(t)
    const secret = join(place, 'secret.mp4')
    await run('ffmpeg', ['-v', 'error', ...cardArgs(2), secret])
    const lists: Record<string, [string, string]> = {
      'of a playlist': [
        'hls',
        `#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile://${secret}\n#EXT-X-ENDLIST\n`
      ],
      'of a concatenation': ['concat', `ffconcat version 1.0\nfile '${secret}'\n`]
    }
    for (const [name, [demuxer, text]] of Object.entries(lists)) {
      const { url } = await served(t, Buffer.from(text))
      const found = ffmpeg(place, { args: [...inputArgs(url, demuxer, 1), '-f', 'null', '-'] })
      await rejects(found, is('failed', /whitelist|Invalid|not permitted|unsafe|Operation/i), name)
    }
    for (const url of [
      secret,
      `file:${secret}`,
      `concat:${secret}`,
      `subfile,,start,0,end,0,,:${secret}`,
      'https://127.0.0.1:1/x',
      'udp://127.0.0.1:9'
    ]) {
      await rejects(
        ffmpeg(place, { args: [...inputArgs(url, 'mov', 1), '-f', 'null', '-'] }),
        is('failed', /whitelist|not found|not permitted|Protocol/i),
        url
      )
    }
    const { url } = await served(t, Buffer.from('nothing that ffmpeg knows'))
    await rejects(
      ffmpeg(place, { args: [...inputArgs(url, 'mov', 1), '-f', 'null', '-'] }),
      (error: Error) => {
        ok(!error.message.includes(url), 'the address of a film is a secret')
        return true
      }
    )
  })

  it('says that it is not there', async t => {
    const place = await folder(t)
    const gone = runFfmpeg({ command: 'ffmpeg-of-another-machine', path: PATH }, LIMITS, {
      args: [],
      folder: place,
      timeoutMs: 5_000,
      outputBytesMax: 1_000_000,
      signal: new AbortController().signal
    })
    await rejects(gone, is('missing', /ffmpeg-of-another-machine/))
  })

  it('does not outlive whoever began it', async t => {
    const place = await folder(t)
    const code = `
      import { runFfmpeg } from ${JSON.stringify(new URL('../src/ffmpeg-run.ts', import.meta.url).href)}
      console.log('began')
      await runFfmpeg({ command: 'ffmpeg', path: process.env.PATH }, ${JSON.stringify(LIMITS)}, {
        args: ${JSON.stringify([...endless, '-f', 'null', '-'])},
        folder: ${JSON.stringify(place)}, timeoutMs: 60000, outputBytesMax: 1e8, signal: new AbortController().signal
      })`
    const parent = spawn(
      process.execPath,
      ['--conditions=tributary-source', '--input-type=module', '-e', code],
      {
        stdio: ['ignore', 'pipe', 'inherit']
      }
    )
    await once(parent.stdout, 'data')
    const ffmpegOf = async (): Promise<number | undefined> => {
      for (const pid of await childrenOf(parent.pid!))
        if ((await argumentsOf(pid))[0] === 'ffmpeg') return pid
      return undefined
    }
    const pid = await until('ffmpeg begins', 10_000, ffmpegOf)
    parent.kill('SIGKILL')
    await once(parent, 'exit')
    await until('ffmpeg ends', 5_000, async () => (await argumentsOf(pid))[0] !== 'ffmpeg')
  })
})
