import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { mkdir, readdir, readFile, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, afterEach, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { derivedKey, type FileKey } from '@tributary/protocol'
import { readIndex } from '@tributary/media'
import { silentLog, type Log } from '@tributary/runtime'
import { cardArgs, run, WorkerScene } from './running-worker.ts'

describe('a worker', { timeout: 240_000 }, () => {
  let scene: WorkerScene
  before(async () => {
    scene = await WorkerScene.start()
  })
  afterEach(() => scene.rest())
  after(() => scene?.stop())

  const probe = async (path: string, ...args: string[]): Promise<string> => {
    const { stdout } = await run('ffprobe', ['-v', 'error', ...args, '-of', 'csv=p=0', path])
    return stdout
  }
  const kept = async (name: string, bytes: Buffer): Promise<string> => {
    const path = join(scene.folder, name)
    await writeFile(path, bytes)
    return path
  }
  const greyOf = async (path: string): Promise<Buffer> => {
    const args = ['-v', 'error', '-i', path, '-vf', 'scale=16:9,format=gray', '-f', 'rawvideo', 'pipe:1']
    const { stdout } = await run('ffmpeg', args, { encoding: 'buffer' })
    return stdout
  }

  it('looks into a film, and makes its index, poster, thumbnails and renditions', async () => {
    const path = await scene.make(
      'card.mp4',
      ...cardArgs(14, '640x360', '30000/1001'),
      '-metadata',
      'title=A card'
    )
    const key = await scene.upload('card.mp4', path)
    await scene.work({ profiles: '720p,240p:240:300:64,144p:144:150:64' })
    const jobs = await scene.settled(key)
    deepEqual(
      jobs
        .map(
          ({ kind, profile, state, attempts, error }) => `${kind} ${profile} ${state} ${attempts} ${error}`
        )
        .toSorted(),
      [
        'inspect  done 1 ',
        'poster  done 1 ',
        'rendition 144p done 1 ',
        'rendition 240p done 1 ',
        'thumbnails  done 1 '
      ],
      'the film itself is smaller than 720p'
    )
    const { film, facts, derived } = await scene.film(key)
    deepEqual(
      [film.title, film.kind, film.width, film.height, film.factsState],
      ['A card', 'video', 640, 360, 'ready']
    )
    ok(Math.abs(film.durationMs - 14_000) < 100, `${film.durationMs} ms`)
    equal(JSON.parse(facts!).tracks.length, 2)
    deepEqual(derived.map(({ what }) => what).toSorted(), [
      'index',
      'poster.jpg',
      'rendition-144p.index',
      'rendition-144p.mp4',
      'rendition-240p.index',
      'rendition-240p.mp4',
      'thumbnails.jpg',
      'thumbnails.vtt'
    ])

    const poster = await kept('poster.jpg', await scene.derived(key, 'poster.jpg'))
    match(await probe(poster, '-show_entries', 'stream=codec_name,width,height'), /^mjpeg,640,360/)

    const cues = String(await scene.derived(key, 'thumbnails.vtt'))
    match(cues, /^WEBVTT\n\n00:00:00\.000 --> 00:00:02\.000\nthumbnails\.jpg#xywh=0,0,160,90\n/)
    match(cues, /00:00:12\.000 --> 00:00:14\.\d{3}\nthumbnails\.jpg#xywh=960,0,160,90\n$/)
    const sprite = await kept('thumbnails.jpg', await scene.derived(key, 'thumbnails.jpg'))
    match(await probe(sprite, '-show_entries', 'stream=width,height'), /^1120,90/)

    const { head } = await readIndex(await scene.derived(key, 'index'))
    const original = await kept('original.mp4', await readFile(path))
    for (const [profile, size] of Object.entries({ '240p': '426,240', '144p': '256,144' })) {
      const rendition = await kept(`${profile}.mp4`, await scene.derived(key, `rendition-${profile}.mp4`))
      match(
        await probe(rendition, '-select_streams', 'v', '-show_entries', 'stream=width,height'),
        new RegExp(`^${size}`)
      )
      const own = (await readIndex(await scene.derived(key, `rendition-${profile}.index`))).head
      deepEqual(own.boundaries, head.boundaries, 'cut where the film is cut')
      const times = async (of: string): Promise<string[]> => {
        const packets = await probe(of, '-select_streams', 'v', '-show_entries', 'packet=pts_time')
        return packets.split('\n').filter(Boolean).toSorted()
      }
      deepEqual(await times(rendition), await times(original), 'every picture at its time')
    }
    deepEqual(await readdir(join(scene.folder, 'temp', 'w1')), [], 'nothing is left where they were made')
  })

  it('takes a frame that shows something where a film begins in black', async () => {
    const path = await scene.make(
      'dark.mp4',
      ...'-f lavfi -i testsrc2=size=320x180:rate=10:duration=20'.split(' '),
      '-vf',
      "drawbox=t=fill:c=black:enable='lt(t,7)'",
      ...'-c:v libx264 -preset ultrafast -g 20'.split(' ')
    )
    const key = await scene.upload('dark.mp4', path)
    await scene.work()
    await scene.settled(key)
    const grey = await greyOf(await kept('dark.jpg', await scene.derived(key, 'poster.jpg')))
    const mean = grey.reduce((sum, value) => sum + value, 0) / grey.byteLength
    ok(mean > 40, `its brightness is ${mean}`)
  })

  it('knows sound, turned pictures, and films that begin late', async () => {
    const sound = await scene.make('tone.mp3', '-f', 'lavfi', '-i', 'sine=duration=5', '-c:a', 'libmp3lame')
    const turned = await scene.make(
      'turned.mp4',
      '-i',
      await scene.make('flat.mp4', ...cardArgs(4)),
      '-c',
      'copy',
      '-metadata:s:v',
      'rotate=90'
    )
    const late = await scene.make(
      'late.mkv',
      '-itsoffset',
      '0.7',
      '-i',
      await scene.make('soon.mp4', ...cardArgs(8)),
      '-c',
      'copy'
    )
    const keys = await Promise.all([
      scene.upload('tone.mp3', sound),
      scene.upload('turned.mp4', turned),
      scene.upload('late.mkv', late)
    ])
    await scene.work({ profiles: '144p:144:150:64', jobsMax: 3 })
    const [ofSound, ofTurned, ofLate] = await Promise.all(keys.map(key => scene.settled(key)))
    deepEqual(
      ofSound!.map(({ kind, state }) => `${kind} ${state}`),
      ['inspect done']
    )
    equal((await scene.film(keys[0]!)).film.kind, 'audio')
    for (const job of [...ofTurned!, ...ofLate!])
      equal(job.state, 'done', `${job.kind} of ${job.file}: ${job.error}`)
    const { film } = await scene.film(keys[1]!)
    deepEqual([film.width, film.height], [180, 320])
    const poster = await kept('turned.jpg', await scene.derived(keys[1]!, 'poster.jpg'))
    match(await probe(poster, '-show_entries', 'stream=width,height'), /^180,320/)
    const rendition = await kept('turned-144.mp4', await scene.derived(keys[1]!, 'rendition-144p.mp4'))
    match(await probe(rendition, '-select_streams', 'v', '-show_entries', 'stream=width,height'), /^144,256/)
  })

  it('brings pictures of high dynamic range into the range of every screen', async () => {
    const path = await scene.make(
      'wide.mp4',
      ...'-f lavfi -i color=c=0x808080:size=320x180:rate=10:duration=3'.split(' '),
      '-vf',
      // Mid grey of a film for such screens is far darker in numbers than in the eye.
      'format=yuv420p10le,lutyuv=y=400,setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc',
      ...'-c:v libx265 -preset ultrafast -tag:v hvc1 -x265-params log-level=none:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc'.split(
        ' '
      )
    )
    const key = await scene.upload('wide.mp4', path)
    await scene.work({ profiles: '360p' })
    const jobs = await scene.settled(key)
    deepEqual(
      jobs.map(({ kind, profile, state, error }) => `${kind} ${profile} ${state} ${error}`).toSorted(),
      ['inspect  done ', 'poster  done ', 'rendition 360p done ', 'thumbnails  done '],
      'a film that not every browser plays is made as one that does, in its own size'
    )
    const rendition = await kept('wide-360.mp4', await scene.derived(key, 'rendition-360p.mp4'))
    const shown = await probe(
      rendition,
      '-select_streams',
      'v',
      '-show_entries',
      'stream=codec_name,width,height,pix_fmt,color_transfer'
    )
    match(shown, /^h264,320,180,yuv420p,bt709/)
  })

  it('is not brought down by what is no film, or a broken one, or one that names other files', async () => {
    const whole = await scene.make('whole.mp4', ...cardArgs(6))
    const bytes = await readFile(whole)
    const cut = join(scene.folder, 'cut.mp4')
    await writeFile(cut, bytes)
    await truncate(cut, bytes.byteLength >> 1)
    const garbled = Buffer.from(bytes)
    for (let at = 4_000; at < garbled.byteLength; at += 97) garbled[at] = (garbled[at]! * 31 + at) & 0xff
    const secret = join(scene.folder, 'secret.txt')
    await writeFile(secret, 'nobody may read this')
    const deep = Buffer.alloc(64 * 1024)
    for (let at = 0; at + 8 <= deep.byteLength; at += 8) {
      deep.writeUInt32BE(deep.byteLength - at, at)
      deep.write('moov', at + 4, 'latin1')
    }
    const huge = Buffer.concat([
      bytes.subarray(0, 32),
      Buffer.from('0000000166726565', 'hex'),
      Buffer.from('7fffffffffffffff', 'hex')
    ])
    const hostile: Record<string, Uint8Array> = {
      'noise.mp4': Buffer.alloc(300_000, 'noise of no kind'),
      'empty.mp4': new Uint8Array(0),
      'cut.mp4': await readFile(cut),
      'garbled.mp4': garbled,
      'zip.mp4': Buffer.concat([Buffer.from('504b0304', 'hex'), Buffer.alloc(100_000, 7)]),
      'list.mp4': Buffer.from(
        `#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile://${secret}\n#EXT-X-ENDLIST\n`
      ),
      'concat.mp4': Buffer.from(`ffconcat version 1.0\nfile '${secret}'\n`),
      'deep.mp4': deep,
      'huge.mp4': huge,
      'page.html': Buffer.from('<!doctype html><script>1</script>')
    }
    const keys: FileKey[] = []
    for (const [name, content] of Object.entries(hostile)) keys.push(await scene.upload(name, content))
    const good = await scene.upload('good.mp4', whole)
    await scene.work({ jobsMax: 2 })
    const beganMs = performance.now()
    // What ffmpeg fails at is tried again later; here it is enough that it was tried.
    const tried = async (key: FileKey): Promise<void> => {
      for (;;) {
        const jobs = await scene.jobsOf(key)
        const { film } = await scene.film(key)
        if (
          film.factsState !== 'pending' &&
          jobs.every(({ state, error }) => state !== 'running' && (state !== 'waiting' || error !== ''))
        )
          return
        ok(performance.now() - beganMs < 60_000, `${key.file}: ${JSON.stringify(jobs)}`)
        await sleep(100)
      }
    }
    for (const key of keys) await tried(key)
    for (const { state } of await scene.settled(good)) equal(state, 'done')
    for (const name of [
      'noise.mp4',
      'empty.mp4',
      'zip.mp4',
      'list.mp4',
      'concat.mp4',
      'deep.mp4',
      'page.html'
    ]) {
      const { film, derived } = await scene.film({ application: 'media', user: 'public', file: name })
      equal(film.factsState, 'none', name)
      deepEqual(derived, [], name)
    }
  })

  it('says what it lacks without ffmpeg, and looks into films all the same', async () => {
    const lines: string[] = []
    const note = (first: unknown, message?: string): void => void lines.push(message ?? String(first))
    const log: Log = { ...silentLog(), warn: note as Log['warn'] }
    const empty = join(scene.folder, 'no-programs')
    await mkdir(empty)
    const key = await scene.upload('bare.mp4', await scene.make('bare.mp4', ...cardArgs(4)))
    await scene.work({ name: 'bare', profiles: '144p:144:150:64' }, { path: empty, log })
    for (;;) {
      if ((await scene.film(key)).film.factsState === 'ready') break
      await sleep(50)
    }
    await sleep(500)
    const jobs = await scene.jobsOf(key)
    deepEqual(jobs.map(({ kind, state, attempts }) => `${kind} ${state} ${attempts}`).toSorted(), [
      'inspect done 1',
      'poster waiting 0',
      'rendition waiting 0',
      'thumbnails waiting 0'
    ])
    const { workers } = await scene.client.index('jobs.workers', {})
    const lacks = workers.find(({ name }) => name === 'bare')!.lacks
    equal(lacks.length, 1)
    match(lacks[0]!, /no posters, thumbnails and renditions are made here/)
    equal(lines.filter(line => line.includes('lacks')).length, 1)
    await scene.rest()
    await scene.work({ profiles: '144p:144:150:64' })
    for (const { state } of await scene.settled(key)) equal(state, 'done')
  })

  it('gives back at once what it has in hand when it stops', async () => {
    const key = await scene.upload('long.mp4', await scene.make('long.mp4', ...cardArgs(120, '640x360')))
    const worker = await scene.work({
      name: 'slow',
      profiles: '240p:240:300:64',
      preset: 'slow',
      ffmpegThreads: 1
    })
    for (;;) {
      const running = (await scene.jobsOf(key)).find(
        ({ kind, state }) => kind === 'rendition' && state === 'running'
      )
      if (running && running.progress > 0) break
      await sleep(50)
    }
    const beganMs = performance.now()
    await worker.stop(AbortSignal.timeout(10_000))
    const tookMs = performance.now() - beganMs
    ok(tookMs < 5_000, `it took ${tookMs} ms`)
    const rendition = (await scene.jobsOf(key)).find(({ kind }) => kind === 'rendition')!
    deepEqual([rendition.state, rendition.attempts, rendition.error], ['waiting', 0, ''])
    await scene.client.index('jobs.cancel', { id: rendition.id })
  })

  it('leaves alone what a person put there, and stores nothing for a job that was taken from it', async () => {
    const path = await scene.make('mine.mp4', ...cardArgs(4))
    const key = await scene.upload('mine.mp4', path)
    const { film } = await scene.film(key)
    await scene.client.upload(Buffer.from('a poster of my own'), {
      key: derivedKey(key, film.generation, 'poster.jpg'),
      beside: key,
      name: key.file,
      mediaType: 'image/jpeg'
    })
    await scene.work()
    for (const { state } of await scene.settled(key)) equal(state, 'done')
    equal(String(await scene.derived(key, 'poster.jpg')), 'a poster of my own')
  })

  it('tells webhooks once that a film is ready, however often it is looked into', async () => {
    const webhook = 'a'.repeat(16)
    await scene.client.index('webhooks.create', {
      id: webhook,
      url: 'https://films.example.org/hook',
      secret: 'only for this test',
      events: ['ready'],
      application: ''
    })
    const key = await scene.upload('told.mp4', await scene.make('told.mp4', ...cardArgs(4)))
    await scene.work()
    await scene.settled(key)
    const { film } = await scene.film(key)
    const inspect = { ...key, generation: film.generation, kind: 'inspect' as const, title: 'told' }
    await scene.client.index('jobs.add', { jobs: [inspect], again: true })
    await scene.settled(key)
    const { deliveries } = await scene.client.index('deliveries.list', { webhook, limit: 10 })
    deepEqual(
      deliveries.map(({ event, body }) => [event, JSON.parse(body).file, JSON.parse(body).generation]),
      [['ready', 'told.mp4', film.generation]]
    )
    await scene.client.index('webhooks.remove', { id: webhook })
  })

  it('drops the jobs of a film that is gone', async () => {
    const key = await scene.upload('gone.mp4', await scene.make('gone.mp4', ...cardArgs(4)))
    const { film } = await scene.film(key)
    await scene.client.index('jobs.add', {
      jobs: [{ ...key, generation: film.generation, kind: 'poster', title: 'gone' }]
    })
    await scene.client.delete(key)
    await scene.work()
    for (;;) {
      const [job] = await scene.jobsOf(key)
      if (job!.state === 'cancelled') break
      await sleep(50)
    }
  })
})
