/** Storage servers die in the middle of large transfers, and clients race for one name. */
import { deepEqual, equal, notEqual, ok } from 'node:assert/strict'
import { createHash, randomFillSync } from 'node:crypto'
import { after, before, describe, it, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { TributaryError, type FileKey } from '@tributary/protocol'
import { contentOf } from '../faults/random.ts'
import { Refused, WirePeer } from '../faults/wire-peer.ts'
import { RunningUp, type Role } from '../testkit/up.ts'
import { until } from '../testkit/tributary-process.ts'
import { diskAgrees } from './agreement.ts'
import { ENGINES, type Backing } from './engines.ts'
import { GatedReader } from './gated-reader.ts'

const MIB = 1024 * 1024
const LARGE_BYTES = 208 * MIB
/** Far from both ends, and far apart: more than all buffers on the way hold. */
const STANDS_AT_BYTES = 30 * MIB
const UPLOAD_BYTES = 96 * MIB
const BACK_WITHIN_MS = 60_000
const CLIENTS = 8
const RACES = 6
const USER = 'transfers'

const large = randomFillSync(Buffer.allocUnsafe(LARGE_BYTES))
const largeSha256 = createHash('sha256').update(large).digest('hex')
const uploaded = large.subarray(0, UPLOAD_BYTES)

for (const engine of ENGINES) {
  describe(`large transfers on ${engine.name}`, { skip: engine.skip, timeout: 240_000 }, () => {
    let backing: Backing
    let up: RunningUp
    const keyOf = (file: string): FileKey => ({ application: 'media', user: USER, file })

    before(async () => {
      backing = await engine.start()
      up = await RunningUp.start(backing)
    })
    after(async () => {
      await up?.close()
      await backing?.stop()
    })

    /**
     * To be called before an upload begins: what was killed before may have left files that are not removed yet.
     *
     * @returns what kills the member that takes the upload, as soon as it does, and tells which it is.
     */
    const receiverWatch = async (): Promise<() => Promise<Role>> => {
      const leftovers = new Set((await up.temporaryFiles()).map(({ path }) => path))
      return async () => {
        const { member } = await until('an upload is under way', 20_000, async () =>
          (await up.temporaryFiles()).find(({ path }) => !leftovers.has(path))
        )
        await up.kill(member as Role)
        return member as Role
      }
    }
    const untilWhole = (): Promise<unknown> =>
      until('both storage servers are back', BACK_WITHIN_MS, async () => {
        const running = (await up.find('storage1')) && (await up.find('storage2'))
        return running && (await up.activeMembers().catch(() => 0)) === 2
      })

    it('an upload of bytes goes on with the other storage server', async t => {
      const client = up.client()
      const killReceiver = await receiverWatch()
      let doneBytes = 0
      const upload = client.upload(uploaded, {
        key: keyOf('bytes'),
        onProgress: progress => (doneBytes = progress.doneBytes)
      })
      const [stored, member] = await Promise.all([
        upload,
        killReceiver().then(role => [role, doneBytes] as const)
      ])
      t.diagnostic(
        `${member[0]} was killed after ${Math.round(member[1] / MIB)} of ${UPLOAD_BYTES / MIB} MiB`
      )
      ok(member[1] < UPLOAD_BYTES, 'it was in mid-upload')
      equal(stored.sizeBytes, UPLOAD_BYTES)
      ok(uploaded.equals(await bodyOf(await fetch(up.urlOf(USER, 'bytes')))))
      await untilWhole()
    })

    it('an upload of a stream, which cannot be read again, fails with the truth and leaves nothing', async t => {
      const client = up.client()
      const killReceiver = await receiverWatch()
      async function* slowly(): AsyncGenerator<Buffer> {
        for (let at = 0; at < UPLOAD_BYTES; at += MIB) {
          yield uploaded.subarray(at, at + MIB)
          await sleep(10)
        }
      }
      const upload = client.upload(slowly(), { key: keyOf('stream'), sizeBytes: UPLOAD_BYTES })
      const [outcome, role] = await Promise.all([settled(upload), killReceiver()])
      t.diagnostic(`${role} was killed: ${outcome}`)
      ok(['CONNECTION_LOST', 'TIMED_OUT', 'SHUTTING_DOWN', 'OUTCOME_UNKNOWN'].includes(outcome), outcome)
      await untilWhole()
      equal(await settled(client.stat(keyOf('stream'))), 'FILE_NOT_FOUND')
      await client.upload(uploaded, { key: keyOf('stream') })
      ok(uploaded.equals(await bodyOf(await fetch(up.urlOf(USER, 'stream')))))
    })

    it('an upload by HTTP is whole, or refused with the reason and not there', async t => {
      const url = up.urlOf(USER, 'put')
      const killReceiver = await receiverWatch()
      const put = fetch(url, { method: 'PUT', body: uploaded })
      const [response, role] = await Promise.all([put, killReceiver()])
      const { detail = '' } = (await response.json()) as { detail?: string }
      t.diagnostic(`${role} was killed: ${response.status} ${detail}`)
      if (response.status !== 201) {
        ok([502, 503, 504].includes(response.status), `${response.status}`)
        notEqual(detail, '')
        await untilWhole()
        equal((await fetch(url)).status, 404)
        equal((await fetch(url, { method: 'PUT', body: uploaded })).status, 201)
      }
      ok(uploaded.equals(await bodyOf(await fetch(url))))
    })

    /** Each member in turn while the reader stands still, so that whichever serves it dies. */
    const killEachUnder = async (reader: GatedReader): Promise<void> => {
      for (const [role, standsAtBytes] of [
        ['storage1', STANDS_AT_BYTES],
        ['storage2', 4 * STANDS_AT_BYTES]
      ] as const) {
        reader.allow(standsAtBytes)
        await reader.reached(standsAtBytes)
        const killed = await up.kill(role)
        await up.untilBack(role, killed, BACK_WITHIN_MS)
        await untilWhole()
      }
      reader.allow(Infinity)
    }

    it('a download by HTTP has every byte, though both are killed one after the other', async t => {
      await untilWhole()
      await up.client().upload(large, { key: keyOf('large') })
      const survivedBefore = survivals(up)
      const response = await fetch(up.urlOf(USER, 'large'))
      const reader = new GatedReader(response.body!, STANDS_AT_BYTES)
      await killEachUnder(reader)
      deepEqual(await reader.ended, { sha256: largeSha256, bytes: LARGE_BYTES })
      const survived = survivals(up) - survivedBefore
      t.diagnostic(`went on elsewhere ${survived} times`)
      ok(survived > 0, 'it went on elsewhere')
    })

    it('a download by the library has every byte', async t => {
      const events: string[] = []
      const client = up.client({ onEvent: ({ text }) => events.push(text) })
      const { stream } = await client.download(keyOf('large'))
      const reader = new GatedReader(stream, STANDS_AT_BYTES)
      await killEachUnder(reader)
      deepEqual(await reader.ended, { sha256: largeSha256, bytes: LARGE_BYTES })
      t.diagnostic(`survived: ${events.join('; ')}`)
      ok(events.length > 0, 'it went on elsewhere')
    })

    it('of eight clients of the library that race for one name exactly one has it', async () => {
      const clients = Array.from({ length: CLIENTS }, () => up.client())
      for (let race = 0; race < RACES; race++) {
        const file = `library-${race}`
        // Small ones travel with their announcement, large ones after it.
        const contents = clients.map((_, index) =>
          contentOf(`${file}-${index}`, race % 2 === 0 ? 5_000 : 2_500_000 + index)
        )
        const outcomes = await Promise.all(
          clients.map((client, index) => settled(client.upload(contents[index]!, { key: keyOf(file) })))
        )
        await onlyOneHas(file, contents, outcomes, 'FILE_EXISTS')
      }
    })

    it('of eight plain connections, four to each storage server, exactly one has it', async t => {
      const peers = await plainPeers(t, up)
      for (let race = 0; race < RACES; race++) {
        const file = `plain-${race}`
        const contents = peers.map((_, index) =>
          contentOf(`${file}-${index}`, race % 2 === 0 ? 5_000 : 2_500_000 + index)
        )
        const outcomes = await Promise.all(
          peers.map((peer, index) => settled(peer.upload(keyOf(file), contents[index]!)))
        )
        await onlyOneHas(file, contents, outcomes, 'FILE_EXISTS')
      }
    })

    it('of eight programs that PUT one name exactly one has it, and the others are told 409', async () => {
      for (let race = 0; race < RACES; race++) {
        const file = `http-${race}`
        const contents = Array.from({ length: CLIENTS }, (_, index) =>
          contentOf(`${file}-${index}`, race % 2 === 0 ? 5_000 : 2_500_000 + index)
        )
        const outcomes = await Promise.all(
          contents.map(async body => {
            const response = await fetch(up.urlOf(USER, file), { method: 'PUT', body })
            await response.arrayBuffer()
            return response.status === 201 ? 'done' : `${response.status}`
          })
        )
        await onlyOneHas(file, contents, outcomes, '409')
      }
    })

    it('leaves index and disk in agreement', async () => {
      deepEqual(await up.stop(), { exitCode: 0, signal: null })
      equal(await diskAgrees(up), 4 + 3 * RACES)
    })

    const onlyOneHas = async (
      file: string,
      contents: readonly Buffer[],
      outcomes: readonly string[],
      refusal: string
    ): Promise<void> => {
      const winner = outcomes.indexOf('done')
      deepEqual(
        outcomes,
        contents.map((_, index) => (index === winner ? 'done' : refusal))
      )
      ok(
        contents[winner]!.equals(await bodyOf(await fetch(up.urlOf(USER, file)))),
        'the content is the winner’s'
      )
    }
  })
}

/** `done`, or the code of the error. */
async function settled(promise: Promise<unknown>): Promise<string> {
  try {
    await promise
    return 'done'
  } catch (error) {
    if (error instanceof TributaryError) return error.code
    if (error instanceof Refused) return error.code ?? error.message
    throw error
  }
}

async function bodyOf(response: Response): Promise<Buffer> {
  equal(response.status, 200)
  return Buffer.from(await response.arrayBuffer())
}

/** What the gateway told of storage servers that failed it. */
function survivals(up: RunningUp): number {
  return up.err.split('\n').filter(line => line.includes('gateway') && line.includes('storage server')).length
}

async function plainPeers(t: TestContext, up: RunningUp): Promise<WirePeer[]> {
  const peers: WirePeer[] = []
  t.after(() => peers.forEach(peer => peer.close()))
  for (let index = 0; index < CLIENTS; index++) {
    const found = await up.find(index % 2 === 0 ? 'storage1' : 'storage2')
    peers.push(await WirePeer.greeted(found!.address))
  }
  return peers
}
