/** tus-js-client, as browsers have it, against whole clusters whose servers die. */
import { equal, ok } from 'node:assert/strict'
import { createHash, randomBytes, randomFillSync } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Upload, type PreviousUpload, type UploadOptions, type UrlStorage } from 'tus-js-client'
import { startPlayableCluster, type PlayableCluster } from '../testkit/gateway.ts'
import { until } from '../testkit/tributary-process.ts'
import { RunningUp } from '../testkit/up.ts'

const MIB = 1024 * 1024
const FILM_BYTES = 160 * MIB
const USER = 'browser'
const BACK_WITHIN_MS = 60_000
const RETRY_DELAYS_MS = [0, 200, 500, 1_000, 1_000, 2_000, 2_000, 5_000, 5_000]
const PARTS = 4
const LOOK_MS = 10

const film = randomFillSync(Buffer.allocUnsafe(FILM_BYTES))
const filmSha256 = sha256(film)

interface Running {
  upload: Upload
  done: Promise<void>
  sentBytes: () => number
}

/** @param content Buffer or stream of a file. */
function start(
  content: unknown,
  endpoint: string,
  file: string,
  options: Partial<UploadOptions> = {}
): Running {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  let sent = 0
  const upload = new Upload(content as never, {
    endpoint,
    retryDelays: RETRY_DELAYS_MS,
    metadata: { filename: `${file}.mkv`, app: 'media', user: USER, file },
    onError: reject,
    onSuccess: () => resolve(),
    onProgress: bytes => (sent = bytes),
    ...options
  })
  return { upload, done: promise, sentBytes: () => sent }
}

const past = (running: Running, bytes: number): Promise<unknown> =>
  until(`${bytes} bytes have left`, 30_000, () => running.sentBytes() > bytes)

describe('tus-js-client, while servers are killed', { timeout: 300_000 }, () => {
  let up: RunningUp
  before(async () => {
    up = await RunningUp.start()
  })
  after(() => up?.close())
  const isStored = async (file: string, of = filmSha256): Promise<void> => {
    const response = await fetch(up.urlOf(USER, file))
    equal(response.status, 200)
    equal(sha256(Buffer.from(await response.arrayBuffer())), of)
  }

  it('goes on after the gateway was killed', async t => {
    const running = start(film, `${up.httpUrl}/uploads`, 'gateway')
    running.upload.start()
    await past(running, 20 * MIB)
    const killed = await up.kill('gateway')
    t.diagnostic(`killed at ${Math.round(running.sentBytes() / MIB)} of ${FILM_BYTES / MIB} MiB`)
    ok(running.sentBytes() < FILM_BYTES)
    await running.done
    await isStored('gateway')
    await up.untilBack('gateway', killed, BACK_WITHIN_MS)
  })

  it('goes on after the storage servers were killed, one after the other', async () => {
    const running = start(film, `${up.httpUrl}/uploads`, 'storage', { chunkSize: 16 * MIB })
    running.upload.start()
    for (const role of ['storage1', 'storage2'] as const) {
      await past(running, Math.min(running.sentBytes() + 17 * MIB, 100 * MIB))
      await up.untilBack(role, await up.kill(role), BACK_WITHIN_MS)
    }
    await running.done
    await isStored('storage')
  })

  it('leaves no folder behind', async () => {
    await until('the folders are gone', 10_000, async () => {
      const left = await readdir(join(up.storeRoot, '.parts')).catch(() => [])
      return left.length === 0
    })
  })
})

describe('tus-js-client', { timeout: 300_000 }, () => {
  let playable: PlayableCluster
  let other: string
  let film1: string
  before(async () => {
    playable = await startPlayableCluster()
    other = await playable.openGateway({})
    film1 = join(playable.cluster.folder, 'film.mkv')
    await writeFile(film1, film)
  })
  after(() => playable?.stop())
  const endpoint = (): string => `${playable.url}/uploads`
  const urlOf = (file: string): string => `${other}/files/media/${USER}/${file}`
  const isStored = async (file: string): Promise<void> => {
    equal(sha256(Buffer.from(await (await fetch(urlOf(file))).arrayBuffer())), filmSha256)
  }
  const parts = (): Promise<string[]> =>
    readdir(join(playable.cluster.storeRoots[0]!, '.parts')).catch(() => [])

  it('uploads with the content in its first request, and in pieces', async () => {
    for (const options of [{ uploadDataDuringCreation: true }, { chunkSize: 30 * MIB }]) {
      const file = `plain-${Object.keys(options)[0]}`
      const running = start(film, endpoint(), file, options)
      running.upload.start()
      await running.done
      await isStored(file)
    }
  })

  it('resumes in another program, through another gateway, what a program that ended had begun', async () => {
    const urlStorage = new Urls()
    const options = { urlStorage, storeFingerprintForResuming: true }
    const first = start(createReadStream(film1), endpoint(), 'resumed', { ...options, chunkSize: 16 * MIB })
    first.upload.start()
    await past(first, 40 * MIB)
    await first.upload.abort()
    const second = start(createReadStream(film1), endpoint(), 'resumed', options)
    const [previous] = await second.upload.findPreviousUploads()
    ok(previous?.uploadUrl)
    second.upload.resumeFromPreviousUpload(previous)
    second.upload.url = previous.uploadUrl.replace(playable.url, other)
    let firstOffset = Infinity
    second.upload.options.onProgress = bytes => (firstOffset = Math.min(firstOffset, bytes))
    second.upload.start()
    await second.done
    ok(firstOffset >= 32 * MIB, `it went on at ${firstOffset}`)
    await isStored('resumed')
  })

  for (const isHinted of [false, true]) {
    it(`uploads ${PARTS} parts at once, ${isHinted ? 'each at its place in one file' : 'and they are joined'}`, async () => {
      const file = isHinted ? 'hinted' : 'parallel'
      const whole = randomBytes(16).toString('hex')
      let part = 0
      const running = start(createReadStream(film1), endpoint(), file, {
        parallelUploads: PARTS,
        ...(isHinted && {
          // Parts are created in their order; all that tus-js-client says of them is the same for all.
          onBeforeRequest: request => {
            if (request.getMethod() !== 'POST' || request.getHeader('Upload-Concat') !== 'partial') return
            const place = Buffer.from(`${whole} ${part++} ${PARTS} ${FILM_BYTES}`).toString('base64')
            request.setHeader('Upload-Metadata', `parallel ${place}`)
          }
        })
      })
      running.upload.start()
      let folders = 0
      const looking = setInterval(() => {
        // Beside them there may be marks, for a moment, of folders that are being removed.
        void parts().then(names => {
          folders = Math.max(folders, names.filter(name => !name.includes('.')).length)
        })
      }, LOOK_MS)
      await running.done.finally(() => clearInterval(looking))
      equal(folders, isHinted ? 1 : PARTS)
      await isStored(file)
      equal((await parts()).length, 0)
    })
  }

  it('gives an upload up for good', async () => {
    const running = start(film, endpoint(), 'given-up')
    running.done.catch(() => {})
    running.upload.start()
    await past(running, 20 * MIB)
    await running.upload.abort(true)
    await until('nothing is left', 10_000, async () => (await parts()).length === 0)
    equal((await fetch(urlOf('given-up'))).status, 404)
  })

  it('two at once on one upload: it is what was sent', async () => {
    const first = start(film, endpoint(), 'two', { chunkSize: 8 * MIB })
    first.upload.start()
    await past(first, 20 * MIB)
    const second = start(film, endpoint(), 'two', { chunkSize: 8 * MIB })
    second.upload.url = first.upload.url!.replace(playable.url, other)
    second.upload.start()
    await Promise.allSettled([first.done, second.done])
    await sleep(100)
    await isStored('two')
  })
})

/** What a browser keeps in its local storage. */
class Urls implements UrlStorage {
  readonly #uploads = new Map<string, PreviousUpload>()

  async findAllUploads(): Promise<PreviousUpload[]> {
    return [...this.#uploads.values()]
  }

  async findUploadsByFingerprint(fingerprint: string): Promise<PreviousUpload[]> {
    return [...this.#uploads].filter(([key]) => key.startsWith(fingerprint)).map(([, upload]) => upload)
  }

  async removeUpload(key: string): Promise<void> {
    this.#uploads.delete(key)
  }

  async addUpload(fingerprint: string, upload: PreviousUpload): Promise<string> {
    const key = `${fingerprint}::${this.#uploads.size}`
    this.#uploads.set(key, { ...upload, urlStorageKey: key })
    return key
  }
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}
