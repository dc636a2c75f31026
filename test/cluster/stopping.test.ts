/** One SIGTERM while clients are at work, and the next start. */
import { deepEqual, equal, ok } from 'node:assert/strict'
import { createHash, randomFillSync } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Random } from '../faults/random.ts'
import { cleanUps } from '../testkit/clean-ups.ts'
import { RunningUp } from '../testkit/up.ts'
import { diskAgrees } from './agreement.ts'
import { doorsOf } from './doors.ts'
import { ClusterLoad, describePhase } from '../testkit/cluster-load.ts'
import { ENGINES } from './engines.ts'
import { GatedReader } from './gated-reader.ts'

const MIB = 1024 * 1024
const FILE_BYTES = 64 * MIB
const USER = 'stops'
/** Transfers in hand have so long, 10 s where it is not set. */
const env = { TRIBUTARY_GATEWAY_STOP_TIMEOUT_S: '3' }
const STOP_WITHIN_MS = 15_000

for (const engine of ENGINES) {
  describe(
    `a cluster on ${engine.name} that is told to stop while clients work`,
    { skip: engine.skip, timeout: 120_000 },
    () => {
      it('ends what is in hand, says the truth to the rest, leaves no process and serves the same files again', async t => {
        const afterwards = cleanUps(t)
        const folder = await mkdtemp(join(tmpdir(), 'tributary-stopping-'))
        afterwards(() => rm(folder, { recursive: true, force: true, maxRetries: 3 }))
        const backing = await engine.start()
        afterwards(() => backing.stop())
        const up = await RunningUp.start({ ...backing, folder, env })
        afterwards(() => up.close())
        const content = randomFillSync(Buffer.allocUnsafe(FILE_BYTES))
        const sha256 = createHash('sha256').update(content).digest('hex')
        const stored = await fetch(up.urlOf(USER, 'film'), { method: 'PUT', body: content })
        equal(stored.status, 201)

        const load = new ClusterLoad({ doors: doorsOf(up), random: new Random(), users: [USER] })
        load.start()
        // One that can be ended within the time, one whose reader has fallen asleep.
        const quick = new GatedReader((await fetch(up.urlOf(USER, 'film'))).body!, 10 * MIB)
        const asleep = new GatedReader((await fetch(up.urlOf(USER, 'film'))).body!, 10 * MIB)
        await Promise.all([quick.reached(10 * MIB), asleep.reached(10 * MIB)])
        let sent = 0
        const upload = fetch(up.urlOf(USER, 'slow'), {
          method: 'PUT',
          headers: { 'Content-Length': String(content.byteLength) },
          duplex: 'half',
          body: new ReadableStream({
            async pull(controller) {
              controller.enqueue(content.subarray(sent, sent + MIB))
              sent += MIB
              if (sent >= content.byteLength) controller.close()
              await sleep(20)
            }
          })
        }).then(
          response => response.status,
          () => 0 // cut off: it is not known
        )
        await sleep(300)

        const startMs = performance.now()
        const stopping = up.stop()
        await sleep(200)
        quick.allow(Infinity)
        deepEqual(await quick.ended, { sha256, bytes: FILE_BYTES }, 'a transfer in hand is finished')
        const uploadStatus = await upload
        deepEqual(await stopping, { exitCode: 0, signal: null })
        const stopMs = performance.now() - startMs
        asleep.allow(Infinity)
        const asleepEnd = await asleep.ended.then(
          end => end.bytes,
          () => 'cut off'
        )
        const phase = await load.stop()
        t.diagnostic(
          `stopped after ${(stopMs / 1000).toFixed(1)} s; the upload in hand: ${uploadStatus}; the sleeping reader: ${asleepEnd}; ${describePhase(phase)}`
        )
        ok(stopMs < STOP_WITHIN_MS)
        ok(asleepEnd === 'cut off' || asleepEnd === FILE_BYTES, 'never a short file that looks whole')
        const files = await diskAgrees(up)

        const again = await RunningUp.start({ ...backing, folder })
        afterwards(() => again.close())
        load.moveTo(doorsOf(again))
        const verdict = await load.verify()
        equal(
          createHash('sha256')
            .update(await bodyOf(again, 'film'))
            .digest('hex'),
          sha256
        )
        const slow = await fetch(again.urlOf(USER, 'slow'))
        await slow.arrayBuffer()
        if (uploadStatus === 201) equal(slow.status, 200)
        else if (uploadStatus !== 0) equal(slow.status, 404)
        equal(files, verdict.whole + 1 + (slow.status === 200 ? 1 : 0))
        deepEqual(await again.stop('SIGINT'), { exitCode: 0, signal: null })
      })
    }
  )
}

async function bodyOf(up: RunningUp, file: string): Promise<Buffer> {
  return Buffer.from(await (await fetch(up.urlOf(USER, file))).arrayBuffer())
}
