import { deepEqual, equal, ok, throws } from 'node:assert/strict'
import { describe, it } from 'node:test'
import { decodeAddressesReply, extension, formatAddress, type Presence } from '@tributary/protocol'
import { ManualClock } from '@tributary/runtime'
import { chooseGroup } from '../src/group-choice.ts'
import { HandOut } from '../src/hand-out.ts'
import { drawOrders } from '../src/hand-out-order.ts'
import { MemberTable } from '../src/member-table.ts'
import { joinRecord, presence } from './running-tracker.ts'

const HEADER_BYTES = 10

/** Numbers that look random, the same in every run. */
function seeded(seed = 42): () => number {
  let state = seed
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31
    return state / 2 ** 31
  }
}

function tableWithClock(): { table: MemberTable; clock: ManualClock } {
  const clock = new ManualClock()
  return { clock, table: new MemberTable({ clock, checkIntervalMs: 30_000 }) }
}

function reportAs(table: MemberTable, host: number, changes: Partial<Presence> = {}): void {
  table.presence(`10.0.0.${host}`, presence({ hostName: `host${host}`, ...changes }))
}

function listOf(handOut: HandOut, exists: boolean, clock: ManualClock): string[] {
  const frame = handOut.reply('legacy', exists ? 'read' : 'store', clock.monotonicMs())
  return decodeAddressesReply(frame.subarray(HEADER_BYTES)).addresses.map(formatAddress)
}

/** How often each address comes first. */
function firstsOf(handOut: HandOut, exists: boolean, clock: ManualClock, times = 320): Map<string, number> {
  const firsts = new Map<string, number>()
  for (let at = 0; at < times; at++) {
    const first = listOf(handOut, exists, clock)[0]!
    firsts.set(first, (firsts.get(first) ?? 0) + 1)
  }
  return firsts
}

const handOutOf = (table: MemberTable): HandOut => new HandOut(table.group('group001')!, seeded())

describe('handing out the members of a group', () => {
  it('gives at most three, each once', () => {
    const { table, clock } = tableWithClock()
    for (let host = 1; host <= 5; host++) reportAs(table, host)
    const handOut = handOutOf(table)
    for (let at = 0; at < 100; at++) {
      const list = listOf(handOut, true, clock)
      equal(list.length, 3)
      equal(new Set(list).size, 3)
    }
  })

  it('puts equal ones first equally often', () => {
    const { table, clock } = tableWithClock()
    for (let host = 1; host <= 4; host++) reportAs(table, host)
    for (const times of firstsOf(handOutOf(table), true, clock).values()) equal(times, 80)
  })

  it('puts the busy ones first less often, but never nobody else', () => {
    const { table, clock } = tableWithClock()
    reportAs(table, 1, { busyPermille: 1_000, connections: 5_000, requestsPerS: 50_000, bytesPerS: 2e9 })
    reportAs(table, 2)
    const firsts = firstsOf(handOutOf(table), true, clock)
    const busy = firsts.get('10.0.0.1:23000')!
    ok(busy > 0 && busy < firsts.get('10.0.0.2:23000')! / 3, `${busy} of 320`)
  })

  it('sends new files to where there is more room', () => {
    const { table, clock } = tableWithClock()
    reportAs(table, 1, { freeBytes: 1e9 })
    reportAs(table, 2, { freeBytes: 4e9 })
    const handOut = handOutOf(table)
    const firsts = firstsOf(handOut, false, clock)
    ok(firsts.get('10.0.0.2:23000')! > 3 * firsts.get('10.0.0.1:23000')!)
    for (const times of firstsOf(handOut, true, clock).values()) equal(times, 160)
  })

  it('takes legacy servers, which report nothing, for middling', () => {
    const { table, clock } = tableWithClock()
    reportAs(table, 1, { busyPermille: 900 })
    reportAs(table, 2)
    table.join('10.0.0.3', joinRecord({ hostName: 'host3' }))
    table.beat('10.0.0.3', { group: 'group001', hostName: 'host3' })
    const firsts = firstsOf(handOutOf(table), true, clock)
    const [busy, idle, legacy] = [1, 2, 3].map(host => firsts.get(`10.0.0.${host}:23000`)!)
    ok(busy! < legacy! && legacy! < idle!, `${busy} < ${legacy} < ${idle}`)
  })

  it('gives nobody whose heartbeat stopped, also before the table is swept', async () => {
    const { table, clock } = tableWithClock()
    reportAs(table, 1)
    const handOut = handOutOf(table)
    await clock.advance(10_000)
    reportAs(table, 2)
    equal(listOf(handOut, true, clock).length, 2)
    await clock.advance(20_001)
    for (let at = 0; at < 40; at++) deepEqual(listOf(handOut, true, clock), ['10.0.0.2:23000'])
    await clock.advance(10_000)
    throws(() => listOf(handOut, true, clock), { code: 'NO_STORAGE_READY' })
  })

  it('gives a server again from its next heartbeat on', async () => {
    const { table, clock } = tableWithClock()
    reportAs(table, 1)
    const handOut = handOutOf(table)
    await clock.advance(30_001)
    throws(() => listOf(handOut, true, clock), { code: 'NO_STORAGE_READY' })
    reportAs(table, 1)
    deepEqual(listOf(handOut, true, clock), ['10.0.0.1:23000'])
  })

  it('gives a legacy server again as well, though no sweep saw that it was silent', async () => {
    const { table, clock } = tableWithClock()
    reportAs(table, 1)
    table.join('10.0.0.2', joinRecord())
    table.beat('10.0.0.2', { group: 'group001', hostName: 'host1' })
    const handOut = handOutOf(table)
    equal(listOf(handOut, true, clock).length, 2)
    await clock.advance(30_001)
    throws(() => listOf(handOut, true, clock), { code: 'NO_STORAGE_READY' })
    table.beat('10.0.0.2', { group: 'group001', hostName: 'host1' })
    deepEqual(listOf(handOut, true, clock), ['10.0.0.2:23000'])
  })

  it('gives nobody who is ONLINE only, does not serve, or has left', () => {
    const { table, clock } = tableWithClock()
    table.join('10.0.0.1', joinRecord({ hostName: 'host1' }))
    reportAs(table, 2, { serving: false })
    reportAs(table, 3)
    reportAs(table, 4)
    const handOut = handOutOf(table)
    equal(listOf(handOut, true, clock).length, 2)
    table.leave({ group: 'group001', hostName: 'host4', ip: '10.0.0.4', port: 23_000 })
    for (let at = 0; at < 40; at++) deepEqual(listOf(handOut, true, clock), ['10.0.0.3:23000'])
  })

  it('keeps new files away from those that take none', () => {
    const { table, clock } = tableWithClock()
    reportAs(table, 1, { taking: false })
    reportAs(table, 2)
    const handOut = handOutOf(table)
    for (let at = 0; at < 40; at++) deepEqual(listOf(handOut, false, clock), ['10.0.0.2:23000'])
    equal(listOf(handOut, true, clock).length, 2)
    reportAs(table, 2, { taking: false })
    throws(() => listOf(handOut, false, clock), { code: 'NO_SPACE' })
    // Whoever only looks for a file is not told of a lack of space.
    const frame = handOut.reply('ours', 'look', clock.monotonicMs())
    const { exists, addresses } = extension.locateReply.decode(frame.subarray(HEADER_BYTES))
    equal(exists, false)
    equal(addresses.length, 2)
  })

  it('puts a server last whose heartbeat connection was lost', () => {
    const { table, clock } = tableWithClock()
    for (let host = 1; host <= 3; host++) reportAs(table, host)
    const handOut = handOutOf(table)
    table.connectionLost([...table.group('group001')!.members][0]!)
    for (let at = 0; at < 100; at++) equal(listOf(handOut, true, clock)[2], '10.0.0.1:23000')
  })

  it('shows load figures that changed, after a moment', async () => {
    const { table, clock } = tableWithClock()
    reportAs(table, 1)
    reportAs(table, 2)
    const handOut = handOutOf(table)
    equal(firstsOf(handOut, true, clock).get('10.0.0.1:23000'), 160)
    reportAs(table, 1, { busyPermille: 1_000 })
    await clock.advance(1_000)
    ok(firstsOf(handOut, true, clock).get('10.0.0.1:23000')! < 140)
  })
})

describe('addresses', () => {
  it('are the advertised ones where there are any, for legacy clients the IPv4 one', () => {
    const { table, clock } = tableWithClock()
    const advertised = [
      { host: 'storage.example', port: 1, family: 0 },
      { host: 'fd00::1', port: 2, family: 6 },
      { host: '192.0.2.1', port: 3, family: 4 }
    ]
    reportAs(table, 1, { advertised })
    const handOut = handOutOf(table)
    deepEqual(listOf(handOut, true, clock), ['192.0.2.1:3'])
    const frame = handOut.reply('ours', 'read', clock.monotonicMs())
    const reply = extension.locateReply.decode(frame.subarray(HEADER_BYTES))
    deepEqual(reply, { group: 'group001', exists: true, addresses: advertised })
  })

  it('of IPv6 peers are for programs of ours only', () => {
    const { table, clock } = tableWithClock()
    table.presence('fd00::1', presence())
    const handOut = handOutOf(table)
    throws(() => listOf(handOut, true, clock), { code: 'NO_STORAGE_READY' })
    const frame = handOut.reply('ours', 'store', clock.monotonicMs())
    deepEqual(extension.locateReply.decode(frame.subarray(HEADER_BYTES)).addresses, [
      { host: 'fd00::1', port: 23_000, family: 6 }
    ])
    table.presence('10.0.0.2', presence())
    for (let at = 0; at < 40; at++) deepEqual(listOf(handOut, true, clock), ['10.0.0.2:23000'])
  })

  it('of several members come before the further ones of the first', () => {
    const { table, clock } = tableWithClock()
    for (const host of [1, 2]) {
      const ip = `192.0.2.${host}`
      reportAs(table, host, {
        advertised: [
          { host: ip, port: 1, family: 4 },
          { host: ip, port: 2, family: 4 }
        ]
      })
    }
    const frame = handOutOf(table).reply('ours', 'read', clock.monotonicMs())
    const ports = extension.locateReply.decode(frame.subarray(HEADER_BYTES)).addresses.map(({ port }) => port)
    deepEqual(ports, [1, 1, 2, 2])
  })
})

describe('drawing orders', () => {
  const of = (count: number): { weight: number; suspect: boolean }[] =>
    Array.from({ length: count }, () => ({ weight: 1, suspect: false }))

  it('has none for nobody, and holds for one and for thousands', () => {
    deepEqual(drawOrders([], seeded()), [])
    ok(drawOrders(of(1), seeded()).every(order => order.length === 1))
    const orders = drawOrders(of(5_000), seeded())
    equal(orders.length, 256)
    ok(orders.every(order => new Set(order).size === 3))
  })

  it('gives everybody a first place, however light', () => {
    const orders = drawOrders(
      [
        { weight: 1e9, suspect: false },
        { weight: 1e-9, suspect: false }
      ],
      seeded()
    )
    deepEqual(new Set(orders.map(([first]) => first)), new Set([0, 1]))
  })

  it('takes suspects where there is nobody else', () => {
    const orders = drawOrders(
      [
        { weight: 1, suspect: true },
        { weight: 1, suspect: true }
      ],
      seeded()
    )
    ok(orders.every(order => order.length === 2))
  })
})

describe('choosing a group for a new user', () => {
  it('goes by the room of its fullest member, and never to a group that takes nothing', () => {
    const { table, clock } = tableWithClock()
    const groupOf = (name: string, host: number, changes: Partial<Presence>): void =>
      reportAs(table, host, { group: name, ...changes })
    groupOf('small', 1, { freeBytes: 1e9 })
    groupOf('large', 2, { freeBytes: 9e9 })
    groupOf('large', 3, { freeBytes: 3e9 })
    groupOf('full', 4, { taking: false, freeBytes: 9e12 })
    const random = seeded()
    const counts = new Map<string | undefined, number>()
    for (let at = 0; at < 1_000; at++) {
      const name = chooseGroup([...table.groups()], true, clock.monotonicMs(), random)
      counts.set(name, (counts.get(name) ?? 0) + 1)
    }
    deepEqual(new Set(counts.keys()), new Set(['small', 'large']))
    ok(Math.abs(counts.get('large')! - 750) < 60, `${counts.get('large')} of 1000`)
  })

  it('finds none where nobody is active', () => {
    const { table, clock } = tableWithClock()
    table.join('10.0.0.1', joinRecord())
    equal(chooseGroup([...table.groups()], true, clock.monotonicMs(), seeded()), undefined)
  })
})
