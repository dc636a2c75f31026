import { deepEqual, equal, ok, throws } from 'node:assert/strict'
import { describe, it } from 'node:test'
import { ManualClock } from '@tributary/runtime'
import type { Member, MemberStatus } from '../src/member.ts'
import { FORGET_AFTER_MS, MemberTable, type MemberTableOptions } from '../src/member-table.ts'
import { joinRecord, presence } from './running-tracker.ts'

const IP = '10.0.0.1'
const CHECK_MS = 30_000
const BEAT = { group: 'group001', hostName: 'host1' }

function tableWithClock(options: Partial<MemberTableOptions> = {}): {
  table: MemberTable
  clock: ManualClock
} {
  const clock = new ManualClock()
  return { clock, table: new MemberTable({ clock, checkIntervalMs: CHECK_MS, ...options }) }
}

const statuses = (table: MemberTable): MemberStatus[] =>
  [...table.groups()].flatMap(({ members }) => [...members].map(({ status }) => status))

describe('a storage server in the table', () => {
  it('is ONLINE once joined, ACTIVE from its first heartbeat, OFFLINE when heartbeats stop', async () => {
    const { table, clock } = tableWithClock()
    const member = table.join(IP, joinRecord())
    equal(member.status, 'ONLINE')
    equal(member.beatAtS, 0)
    table.beat(IP, BEAT)
    equal(member.status, 'ACTIVE')
    equal(member.beatAtS, Math.floor(clock.nowMs() / 1_000))
    await clock.advance(CHECK_MS)
    table.sweep()
    equal(member.status, 'ACTIVE')
    await clock.advance(1)
    table.sweep()
    equal(member.status, 'OFFLINE')
    table.beat(IP, BEAT)
    equal(member.status, 'ACTIVE')
  })

  it('is OFFLINE as well when no heartbeat ever followed its join', async () => {
    const { table, clock } = tableWithClock()
    const member = table.join(IP, joinRecord())
    await clock.advance(CHECK_MS + 1)
    table.sweep()
    equal(member.status, 'OFFLINE')
  })

  it('does not live on joins alone', async () => {
    const { table, clock } = tableWithClock()
    const member = table.join(IP, joinRecord())
    table.beat(IP, BEAT)
    for (let seconds = 0; seconds < 40; seconds += 10) {
      await clock.advance(10_000)
      table.join(IP, joinRecord())
    }
    table.sweep()
    equal(member.status, 'OFFLINE')
  })

  it('goes by the monotonic clock: a clock that is set marks nobody OFFLINE', () => {
    const { table, clock } = tableWithClock()
    const member = table.join(IP, joinRecord())
    table.beat(IP, BEAT)
    clock.setNowMs(clock.nowMs() + 10 * CHECK_MS)
    table.sweep()
    equal(member.status, 'ACTIVE')
  })

  it('keeps status and time of joining when the same start joins again', () => {
    const { table } = tableWithClock()
    const member = table.join(IP, joinRecord({ joinedAtS: 100 }))
    table.beat(IP, BEAT)
    equal(table.join(IP, joinRecord({ joinedAtS: 200 })), member)
    equal(member.status, 'ACTIVE')
    equal(member.joinedAtS, 100)
  })

  it('begins anew when it was started anew', () => {
    const { table } = tableWithClock()
    const member = table.join(IP, joinRecord({ startedAtS: 100, joinedAtS: 100 }))
    table.beat(IP, BEAT)
    table.join(IP, joinRecord({ startedAtS: 200, joinedAtS: 201 }))
    equal(member.status, 'ONLINE')
    equal(member.joinedAtS, 201)
    equal(member.beatAtS, 0)
    equal(table.size, 1)
  })

  it('is refused a heartbeat when it never joined', () => {
    const { table } = tableWithClock()
    throws(() => table.beat(IP, BEAT), { code: 'NOT_JOINED' })
    table.join(IP, joinRecord())
    throws(() => table.beat('10.0.0.2', BEAT), { code: 'NOT_JOINED' })
    throws(() => table.beat(IP, { ...BEAT, hostName: 'other' }), { code: 'NOT_JOINED' })
    throws(() => table.beat(IP, { ...BEAT, group: 'group002' }), { code: 'NOT_JOINED' })
  })

  it('leaves the table after a day OFFLINE, and its group with it', async () => {
    const { table, clock } = tableWithClock()
    table.join(IP, joinRecord())
    await clock.advance(CHECK_MS + 1)
    table.sweep()
    await clock.advance(FORGET_AFTER_MS)
    table.sweep()
    equal(table.size, 1)
    await clock.advance(1)
    table.sweep()
    equal(table.size, 0)
    deepEqual([...table.groups()], [])
    throws(() => table.beat(IP, BEAT), { code: 'NOT_JOINED' })
  })

  it('is ACTIVE at once when it reports its presence', async () => {
    const { table, clock } = tableWithClock()
    const member = table.presence(IP, presence({ freeBytes: 5 }))
    equal(member.status, 'ACTIVE')
    equal(member.load?.freeBytes, 5)
    await clock.advance(CHECK_MS + 1)
    table.sweep()
    equal(member.status, 'OFFLINE')
    table.presence(IP, presence())
    equal(member.status, 'ACTIVE')
  })

  it('is OFFLINE at once when it leaves, until it joins again', () => {
    const { table } = tableWithClock()
    const member = table.join(IP, joinRecord())
    table.beat(IP, BEAT)
    table.leave({ group: 'group001', hostName: 'host1', ip: IP, port: 23_000 })
    equal(member.status, 'OFFLINE')
    throws(() => table.beat(IP, BEAT), { code: 'NOT_JOINED' })
    table.join(IP, joinRecord())
    table.beat(IP, BEAT)
    equal(member.status, 'ACTIVE')
  })

  it('may leave though nobody knows it', () => {
    const { table } = tableWithClock()
    table.leave({ group: 'group001', hostName: 'host1', ip: IP, port: 23_000 })
    equal(table.size, 0)
  })

  it('loses what an earlier run reported when it comes back as a legacy server', () => {
    const { table } = tableWithClock()
    const member = table.presence(IP, presence({ taking: false, startedAtS: 1 }))
    table.join(IP, joinRecord({ startedAtS: 2 }))
    equal(member.load, undefined)
    equal(member.taking, true)
  })
})

describe('several storage servers on one host', () => {
  it('are told apart by their ports', () => {
    const { table } = tableWithClock()
    const one = table.join(IP, joinRecord({ port: 1 }))
    const two = table.join(IP, joinRecord({ port: 2 }))
    table.beat(IP, BEAT, new Set<Member>([two]))
    equal(one.status, 'ONLINE')
    equal(two.status, 'ACTIVE')
  })

  it('all get a heartbeat that comes over another connection', () => {
    const { table } = tableWithClock()
    table.join(IP, joinRecord({ port: 1 }))
    table.join(IP, joinRecord({ port: 2 }))
    table.join('10.0.0.2', joinRecord({ port: 3 }))
    table.beat(IP, BEAT)
    deepEqual(statuses(table), ['ACTIVE', 'ACTIVE', 'ONLINE'])
  })

  it('get it too when what joined on this connection was somebody else', () => {
    const { table } = tableWithClock()
    const other = table.join(IP, joinRecord({ hostName: 'other' }))
    const member = table.join(IP, joinRecord())
    table.beat(IP, BEAT, new Set<Member>([other]))
    equal(member.status, 'ACTIVE')
    equal(other.status, 'ONLINE')
  })

  it('with one name are different servers at different addresses', () => {
    const { table } = tableWithClock()
    table.join('fd00::1', joinRecord())
    table.join('10.0.0.1', joinRecord())
    equal(table.size, 2)
  })
})

describe('a lost heartbeat connection', () => {
  it('makes a server a suspect, until it is heard of', () => {
    const { table } = tableWithClock()
    const member = table.presence(IP, presence())
    table.connectionLost(member)
    equal(member.status, 'ACTIVE')
    equal(member.suspect, true)
    table.presence(IP, presence())
    equal(member.suspect, false)
  })

  it('shortens the wait to twice the interval at which it reported', async () => {
    const { table, clock } = tableWithClock()
    const member = table.presence(IP, presence())
    await clock.advance(5_000)
    table.presence(IP, presence())
    table.connectionLost(member)
    await clock.advance(10_000)
    table.sweep()
    equal(member.status, 'ACTIVE')
    await clock.advance(1)
    table.sweep()
    equal(member.status, 'OFFLINE')
  })

  it('never lengthens it', async () => {
    const { table, clock } = tableWithClock()
    const member = table.presence(IP, presence())
    await clock.advance(29_000)
    table.connectionLost(member)
    await clock.advance(1_001)
    table.sweep()
    equal(member.status, 'OFFLINE')
  })
})

describe('the table', () => {
  it('refuses a newcomer when it is full of the living, and makes room among the dead', async () => {
    const { table, clock } = tableWithClock({ membersMax: 2 })
    const first = table.join(IP, joinRecord({ port: 1 }))
    await clock.advance(1_000)
    table.join(IP, joinRecord({ port: 2 }))
    throws(() => table.join(IP, joinRecord({ port: 3 })), { code: 'TABLE_FULL' })
    throws(() => table.presence(IP, presence({ port: 3 })), { code: 'TABLE_FULL' })
    table.join(IP, joinRecord({ port: 1 }))
    await clock.advance(CHECK_MS + 1)
    table.join(IP, joinRecord({ port: 3 }))
    equal(table.size, 2)
    ok(!table.has(first) || table.group('group001')!.members.size === 2)
  })

  it('tells of every change of status once', async () => {
    const changes: string[] = []
    const { table, clock } = tableWithClock({
      onChange: (member, before) => changes.push(`${before}>${member.status}`)
    })
    table.join(IP, joinRecord())
    table.beat(IP, BEAT)
    table.beat(IP, BEAT)
    await clock.advance(CHECK_MS + 1)
    table.sweep()
    table.sweep()
    deepEqual(changes, ['OFFLINE>ONLINE', 'ONLINE>ACTIVE', 'ACTIVE>OFFLINE'])
  })

  it('refuses reports that the fields of a join record could not hold', () => {
    const { table } = tableWithClock()
    const address = { host: '10.0.0.1', port: 1, family: 4 }
    for (const changes of [
      { group: 'group 1' },
      { group: 'g'.repeat(17) },
      { group: '' },
      { hostName: '' },
      { hostName: 'h'.repeat(129) },
      { hostName: 'a\0b' },
      { port: 0 },
      { port: 65_536 },
      { advertised: Array.from({ length: 5 }, () => address) },
      { advertised: [{ ...address, port: 0 }] },
      { advertised: [{ ...address, host: '10.0.0.1;10.0.0.2' }] },
      { advertised: [{ ...address, host: '' }] }
    ]) {
      throws(() => table.presence(IP, presence(changes)), { code: 'BAD_FIELD' }, JSON.stringify(changes))
    }
    equal(table.size, 0)
  })
})
