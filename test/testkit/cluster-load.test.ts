/** The ledger itself: what it was told decides what it finds broken. */
import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { describe, it } from 'node:test'
import { formatFileKey, type FileKey } from '@tributary/protocol'
import { Random } from '../faults/random.ts'
import { ClusterLoad } from './cluster-load.ts'
import { Failure, type Door } from './door.ts'

const USERS = ['ann', 'ben']
const REFUSED_MIN = 3
const READERS = 2

/** A store in memory, whose deletes all fail in this way. */
class RefusingDoor implements Door {
  readonly kind = 'library'
  readonly name = 'refusing'
  readonly files = new Map<string, Buffer>()
  /** Whose delete was asked for. */
  readonly asked = new Set<string>()
  readonly #code: string

  constructor(code: string) {
    this.#code = code
  }

  async upload(key: FileKey, content: Buffer): Promise<void> {
    this.files.set(formatFileKey(key), content)
  }

  async read(key: FileKey, range?: { start: number; end: number }): Promise<Buffer> {
    const content = this.files.get(formatFileKey(key))
    if (!content) throw new Failure('FILE_NOT_FOUND', formatFileKey(key))
    return range ? content.subarray(range.start, range.end + 1) : content
  }

  async delete(key: FileKey): Promise<void> {
    this.asked.add(formatFileKey(key))
    throw new Failure(this.#code, 'not now')
  }
}

async function loadUntilRefused(code: string): Promise<{ door: RefusingDoor; load: ClusterLoad }> {
  const door = new RefusingDoor(code)
  const enough = Promise.withResolvers<void>()
  const load = new ClusterLoad({
    doors: [door],
    random: new Random(3),
    users: USERS,
    pauseMs: 0,
    onOutcome: () => {
      if (door.asked.size >= REFUSED_MIN) enough.resolve()
    }
  })
  load.start()
  await enough.promise
  await load.settle()
  return { door, load }
}

describe('the ledger of a load', () => {
  for (const code of ['DEGRADED', 'NO_STORAGE_READY']) {
    it(`misses a file whose delete was refused as ${code} and that is gone all the same`, async () => {
      const { door, load } = await loadUntilRefused(code)
      equal(load.unknown, 0)
      equal(load.stored, door.files.size)
      await load.verifyThrough(door, READERS)
      deepEqual(load.takeBroken(), [], 'all of them are there')

      for (const name of door.asked) door.files.delete(name)
      await load.verifyThrough(door, READERS)
      const broken = load.takeBroken()
      equal(broken.length, door.asked.size)
      for (const text of broken) match(text, /was acknowledged and is gone/)
    })
  }

  it('takes a file of whose delete nobody knows for there or gone', async () => {
    const { door, load } = await loadUntilRefused('OUTCOME_UNKNOWN')
    equal(load.unknown, door.asked.size)
    const [gone] = door.asked
    door.files.delete(gone!)
    await load.verifyThrough(door, READERS)
    deepEqual(load.takeBroken(), [])
    equal(load.unknown, 0, 'the first way decides')
    ok(load.deleted === 1 && load.stored === door.files.size)
  })
})
