/** What is known of copies, and what follows from it. */
import { deepEqual, equal, ok, rejects, throws } from 'node:assert/strict'
import { describe, it } from 'node:test'
import { copiesIn, GlusterReplication, healReportOf } from '../src/gluster-replication.ts'
import { isDegraded, SharedStore } from '../src/replication.ts'
import { LargeUpload } from '../src/large-upload.ts'
import { Store } from '../src/store.ts'
import { Volume } from '../src/volume.ts'
import { keyOf, labels, openParts, temporaryFolder } from './parts.ts'

const STATE = `[cluster/replicate.media-replicate-0]
child_count = 3
child_up[0] = 1
pending_key[0] = trusted.afr.media-client-0
halo_child_up[0] = 0
child_up[1] = 0
halo_child_up[1] = 1
child_up[2] = 1
quorum-type = auto
`
const brick = (entries: string): string => `<brick hostUuid="c6c4"><name>a:/b</name>${entries}</brick>`
const counted = (total: number, split: number): string =>
  brick(`<status>Connected</status>
    <totalNumberOfEntries>${total}</totalNumberOfEntries>
    <numberOfEntriesInSplitBrain>${split}</numberOfEntriesInSplitBrain>`)

describe('copies of a GlusterFS volume', () => {
  it('are the bricks that the client reaches, without an arbiter', () => {
    deepEqual(copiesIn(STATE, false), { reachable: 2, wanted: 3 })
    deepEqual(copiesIn(STATE, true), { reachable: 1, wanted: 2 })
    throws(() => copiesIn('another version', false), /does not say/)
  })

  it('are whole by a report in which every brick answered', () => {
    const report = (...bricks: string[]): string =>
      `<cliOutput><healInfo><bricks>${bricks.join('\n')}</bricks></healInfo></cliOutput>`
    deepEqual(healReportOf(report(counted(0, 0), counted(4, 1))), {
      unhealedEntries: 4,
      splitBrainEntries: 1
    })
    equal(healReportOf(report(counted(0, 0), brick('<status>Failed (not connected)</status>'))), undefined)
    equal(healReportOf('Volume heal failed.'), undefined)
    equal(healReportOf(''), undefined)
  })

  it('are none where the client does not say', async t => {
    const folder = await temporaryFolder(t)
    const replication = new GlusterReplication({
      volume: await Volume.open(folder),
      path: folder,
      wanted: 2,
      reports: folder
    })
    await replication.refresh()
    deepEqual(replication.copiesNow(), { reachable: 0, wanted: 2 })
    equal(replication.isHealed(), undefined)
    ok(replication.trouble()?.startsWith('the copies cannot be counted: '))
    await rejects(replication.waitForCopies(1, AbortSignal.timeout(60)), { code: 'DEGRADED' })
  })
})

describe('a store', () => {
  it('is degraded with one copy left of several, and never where one is wanted', () => {
    equal(isDegraded({ reachable: 3, wanted: 3 }), false)
    equal(isDegraded({ reachable: 2, wanted: 3 }), false)
    equal(isDegraded({ reachable: 1, wanted: 3 }), true)
    equal(isDegraded({ reachable: 1, wanted: 2 }), true)
    equal(isDegraded({ reachable: 1, wanted: 1 }), false)
    equal(isDegraded({ reachable: 0, wanted: 1 }), true)
  })

  it('that nobody mirrors is one copy, and whole', async () => {
    const replication = new SharedStore()
    deepEqual(replication.copiesNow(), { reachable: 1, wanted: 1 })
    ok(replication.isHealed())
    equal(replication.trouble(), undefined)
    await replication.waitForCopies(1, AbortSignal.timeout(1_000))
  })

  it('gives up an upload that was on its way when the copies went, and leaves nothing of it', async t => {
    const parts = await openParts(t)
    const {
      store: { marker, volume, member, journal, ids, temporary },
      database
    } = parts
    const replication = new SharedStore()
    let reachable = 2
    replication.copiesNow = () => ({ reachable, wanted: 2 })
    const common = {
      marker,
      volume,
      member,
      journal,
      ids,
      temporary,
      redo: undefined,
      reserveBytes: 0,
      durable: true
    }
    const store = new Store({ ...common, replication })
    await store.measure()
    const upload = await LargeUpload.begin(store, database.files, keyOf('a'), 5, labels())
    await upload.write(Buffer.from('hello'))
    reachable = 1
    await rejects(upload.finish(), { code: 'DEGRADED' })
    equal(await database.files.find(keyOf('a'), { causal: true }), undefined)
    await rejects(LargeUpload.begin(store, database.files, keyOf('b'), 5, labels()), { code: 'DEGRADED' })
    const accepting = new Store({ ...common, replication, refusesDegraded: false })
    await accepting.measure()
    const taken = await LargeUpload.begin(accepting, database.files, keyOf('c'), 5, labels())
    await taken.write(Buffer.from('hello'))
    equal((await taken.finish()).sizeBytes, 5)
  })
})
