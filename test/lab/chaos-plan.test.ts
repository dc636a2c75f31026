import { deepEqual, equal, notDeepEqual, ok } from 'node:assert/strict'
import { describe, it } from 'node:test'
import { roundsOf, textOf, type Round } from '../../lab/chaos/fault.ts'
import type { Plan, PlanHost } from '../../lab/plan.ts'
import { Random } from '../faults/random.ts'

const ROUNDS = 400

function hostOf(name: string, number: number): PlanHost {
  const units = ['glusterd', 'mariadb', 'tributary-mounts', 'tributary-storage', 'keepalived']
  return {
    name,
    address: `10.77.0.${number}`,
    region: '',
    device: 'eth0',
    roles: ['storage', 'database', 'brick'],
    units: [...units.map(unit => `${unit}.service`), 'srv-tributary-group001.mount']
  }
}

const bare: PlanHost = { ...hostOf('d', 14), roles: ['tracker'], units: ['tributary-tracker.service'] }
const plan: Plan = {
  version: 1,
  cluster: 'three',
  hosts: [hostOf('a', 11), hostOf('b', 12), hostOf('c', 13), bare],
  groups: [
    {
      name: 'group001',
      members: ['a', 'b', 'c'],
      arbiter: null,
      volume: 'group001',
      mount: '/srv/tributary/group001',
      store: '/srv/tributary/group001/store'
    }
  ],
  virtualAddresses: [],
  firstStart: []
}

function roundsFrom(seed: number): Round[] {
  const rounds = roundsOf(new Random(seed), plan)
  return Array.from({ length: ROUNDS }, () => rounds.next().value as Round)
}

describe('the faults of a run of chaos', () => {
  it('are the same for the same seed, and others for another one', () => {
    deepEqual(roundsFrom(7), roundsFrom(7))
    notDeepEqual(roundsFrom(7), roundsFrom(8))
  })

  it('are all of them seen, each on every host that can have it', () => {
    const seen = new Set(
      roundsFrom(7).flatMap(({ host, faults }) => faults.map(({ kind }) => `${host} ${kind}`))
    )
    for (const kind of ['kill', 'freeze', 'restart', 'cut', 'power', 'link'])
      for (const { name } of plan.hosts) ok(seen.has(`${name} ${kind}`), `${name} ${kind}`)
    for (const name of ['a', 'b', 'c']) ok(seen.has(`${name} disk`) && seen.has(`${name} heal`))
    ok(!seen.has('d disk') && !seen.has('d heal'), 'a host without a brick has no disk to fill')
  })

  it('strike one host at a time, and a dead one with nothing more', () => {
    for (const { faults } of roundsFrom(7)) {
      ok(faults.length === 1 || faults.length === 2)
      if (faults.some(({ kind }) => kind === 'power')) equal(faults.length, 1)
      equal(new Set(faults.map(textOf)).size, faults.length)
    }
  })
})
