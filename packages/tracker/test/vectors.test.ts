import { deepEqual, equal } from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { describe, it } from 'node:test'
import { COMMANDS, encodeFrame, HEADER_BYTES, readBodyBytes, type Address } from '@tributary/protocol'
import { openDatabase } from '@tributary/database'
import { ManualClock } from '@tributary/runtime'
import {
  beat,
  joinRecord,
  joins,
  legacyTo,
  runTracker,
  runTrackerOnItsOwn,
  sqliteUrl,
  CALL
} from './running-tracker.ts'

interface Vector {
  name: string
  request: string
  reply: string
}
const { vectors } = JSON.parse(
  await readFile(new URL('../../protocol/vectors/recorded.json', import.meta.url), 'utf8')
) as { vectors: Vector[] }
const vectorOf = (name: string): Vector => vectors.find(vector => vector.name === name)!

/** Sends bytes on a connection of their own, in pieces, and answers the one frame that comes back. */
function exchange(address: Address, request: Buffer, pieceBytes = request.byteLength): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = connect({ ...address, noDelay: true })
    let received: Buffer = Buffer.alloc(0)
    socket.on('data', chunk => {
      received = Buffer.concat([received, chunk])
      if (received.byteLength < HEADER_BYTES) return
      if (received.byteLength >= HEADER_BYTES + readBodyBytes(received, 0)) socket.destroy()
    })
    socket.on('error', reject)
    socket.on('close', () => resolve(received))
    for (let at = 0; at < request.byteLength; at += pieceBytes) {
      socket.write(request.subarray(at, at + pieceBytes))
    }
  })
}

describe('the tracker, beside recorded bytes', { timeout: 60_000 }, () => {
  for (const pieceBytes of [undefined, 1]) {
    const how = pieceBytes === undefined ? 'sent whole' : 'sent one byte at a time'
    it(`answers what existing servers were recorded to answer, ${how}`, async t => {
      const url = await sqliteUrl(t)
      const database = await openDatabase(url)
      t.after(() => database.close())
      await database.routes.addApplication('tnvideo')
      await database.routes.tie('tnvideo', 'tnv001', 'group001')
      const { address } = await runTracker(t, { '--database': url }, { database })
      const storage = await legacyTo(t, address)
      for (const port of [23_000, 23_001]) await joins(storage, joinRecord({ port }))
      await beat(storage, joinRecord())
      for (const { name, request, reply } of vectors.filter(vector => vector.name.startsWith('tracker.'))) {
        if (name === 'tracker.groups') continue // has a test of its own
        const expected = Buffer.from(reply, 'hex')
        let got: Buffer = Buffer.alloc(0)
        // Which of the two comes first changes from one answer to the next.
        for (let tries = 0; tries < 16 && !got.equals(expected); tries++) {
          got = await exchange(address, Buffer.from(request, 'hex'), pieceBytes)
          if (name !== 'tracker.saddrs') break
        }
        if (expected[9] === 0) deepEqual(got, expected, name)
        else deepEqual(got.subarray(8, 12), expected.subarray(8, 12), name)
      }
    })
  }

  it('lists groups in the recorded layout', async t => {
    const clock = new ManualClock(new Date(2026, 10, 22, 7, 39, 22).getTime())
    const secondsAt = (minute: number, second: number): number =>
      new Date(2026, 10, 22, 7, minute, second).getTime() / 1_000
    const { address, database, stop } = await runTrackerOnItsOwn(t, {}, { clock })
    equal((await database.routes.groups()).length, 2)
    const storage = await legacyTo(t, address)
    for (const [hostName, port, startedAtS] of [
      ['vm', 23_000, secondsAt(39, 12)],
      ['vm2', 23_001, secondsAt(38, 52)]
    ] as const) {
      await joins(storage, joinRecord({ hostName, port, startedAtS, joinedAtS: startedAtS }))
      await beat(storage, { group: 'group001', hostName })
    }
    const text = (await storage.call(encodeFrame(COMMANDS.GROUPS.code), CALL)).toString()
    const recorded = Buffer.from(vectorOf('tracker.groups').reply, 'hex').subarray(10).toString()
    // The database of this test has a second group, without members.
    const second =
      '               GROUPNAME: group002\n       COUNT OF STORAGES: 0\nCOUNT OF ACTIVE STORAGES: 0'
    equal(text, `${recorded.replace('GROUPS: 1', 'GROUPS: 2').slice(0, -1)}\n${second}\0`)
    await stop()
  })
})
