/** Faults against a host that is none: which of them count. */
import { deepEqual, equal, match } from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Fault } from '../../lab/chaos/fault.ts'
import { Injector, type Inflicted } from '../../lab/chaos/injector.ts'
import type { CommandEnd } from '../../lab/order.ts'
import type { Plan } from '../../lab/plan.ts'

const TRACKER: Fault = { kind: 'kill', unit: 'tributary-tracker', matching: '', what: 'tracker' }
const MOUNT: Fault = {
  kind: 'freeze',
  unit: 'srv-tributary-group001.mount',
  matching: 'sbin/glusterfs ',
  what: 'mount'
}
const LINK: Fault = { kind: 'link', delayMs: 100, lossPercent: 4 }
const FULL_BYTES = 4_096

const plan: Plan = {
  version: 1,
  cluster: 'one',
  hosts: [{ name: 'a', address: '10.77.0.11', region: '', device: 'eth0', roles: [], units: [] }],
  groups: [],
  virtualAddresses: [],
  firstStart: []
}
const ended = (exitCode: number, stdout = '', stderr = ''): CommandEnd => ({ exitCode, stdout, stderr })

interface Ground {
  /** Processes of each unit that a signal meets. */
  readonly processes?: Readonly<Record<string, number>>
  /** Answers commands, of the host and beside it. */
  readonly run?: (line: string) => CommandEnd
}

/** What the commands were, and what came of the fault. */
async function inflict(
  fault: Fault,
  { processes = {}, run = () => ended(0) }: Ground
): Promise<Inflicted & { lines: string[] }> {
  const lines: string[] = []
  const answer = async (command: string | readonly string[]): Promise<CommandEnd> => {
    const line = typeof command === 'string' ? command : command.join(' ')
    lines.push(line)
    return run(line)
  }
  const nothing = async (): Promise<void> => {}
  const host = {
    name: 'a',
    port: 'host0',
    signal: async (unit: string) => processes[unit] ?? 0,
    restartUnit: nothing,
    cut: nothing,
    heal: nothing,
    kill: nothing,
    start: nothing,
    run: answer
  }
  const injector = new Injector({ plan, exec: answer, host: () => host })
  return { ...(await injector.inflict('a', fault)), lines }
}

describe('a fault of chaos', () => {
  it('that meets no process did nothing', async () => {
    equal((await inflict(TRACKER, {})).inert, 'no such process ran')
    equal((await inflict(TRACKER, { processes: { 'tributary-tracker': 1 } })).inert, undefined)
    equal((await inflict(MOUNT, {})).inert, 'no such process ran')
    const remounted = { processes: { 'tributary-mounts': 1 } }
    equal((await inflict(MOUNT, remounted)).inert, undefined, 'started anew by the watcher of mounts')
  })

  it('that fills a disk counts when the disk is full, and not before', async () => {
    const disk = (left: number[], exitCode = 0) => ({
      run: (line: string) =>
        line.startsWith('df') ? ended(0, `Avail\n${left.shift()}\n`) : ended(exitCode, '', 'No space left')
    })
    equal((await inflict({ kind: 'disk' }, disk([900_000_000, FULL_BYTES]))).inert, undefined)
    const again = [900_000_000, 2_000_000, 2_000_000, FULL_BYTES]
    equal((await inflict({ kind: 'disk' }, disk(again))).inert, undefined, 'clients gave some back meanwhile')
    const never = Array.from({ length: 20 }, () => 900_000_000)
    match(
      (await inflict({ kind: 'disk' }, disk(never, 1))).inert!,
      /^900000000 bytes are left: No space left$/
    )
  })

  it('that asks for a heal which is refused did nothing', async () => {
    const heal: Fault = { kind: 'heal', volume: 'group001' }
    const refusing = { run: () => ended(1, '', 'Launching heal operation …\nsome of the bricks are down\n') }
    equal((await inflict(heal, refusing)).inert, 'some of the bricks are down')
    equal((await inflict(heal, {})).inert, undefined)
  })
})

describe('a spoilt link', () => {
  it('is spoilt by netem where the kernel has it', async () => {
    const { text, inert, lines } = await inflict(LINK, {})
    equal(text, 'link with 100 ms of delay and 4 % of loss by netem')
    equal(inert, undefined)
    deepEqual(
      lines.filter(line => line.includes('add') && !line.includes(' lo ')),
      ['eth0', 'host0'].map(
        device => `tc qdisc add dev ${device} root netem limit 20000 delay 50ms 25ms loss 2%`
      )
    )
  })

  it('loses packets by nftables where there is no netem, and says so', async () => {
    const run = (line: string): CommandEnd => ended(line.includes('netem') ? 2 : 0)
    const { text, lines, mend } = await inflict(LINK, { run })
    match(text, / by nft \+ tbf$/)
    const rules = lines.filter(line => line.includes('numgen') && !line.includes('"lo"'))
    equal(rules.length, 2, 'at both ends')
    for (const rule of rules)
      match(rule, /ingress device "(eth0|host0)"[^]*random mod 10000 < 200 counter drop/)
    await mend()
    equal(
      lines.filter(line => line === 'nft delete table netdev chaos').length,
      4,
      'two of them of the trial'
    )
  })

  it('is narrow where there is neither, and that is no loss', async () => {
    const run = (line: string): CommandEnd => ended(/netem|nft/.test(line) ? 2 : 0)
    match((await inflict(LINK, { run })).text, / by tbf$/)
  })

  it('is none where one end cannot be spoilt', async () => {
    const run = (line: string): CommandEnd => ended(/add dev host0/.test(line) ? 2 : 0)
    equal((await inflict(LINK, { run })).inert, 'netem failed at an end of the cable')
  })
})
