/** What another terminal may order of a running lab. */
import { join } from 'node:path'
import type { Answer } from './control.ts'
import { LabError, type HostStatus, type Lab, type LabHost } from './lab.ts'

export const USAGE = `npm run lab [-- --layout three|wide] [--description FILE] [--folder DIR] [--port N] [--keep]
npm run lab -- ORDER, from another terminal:
  status                  hosts, units, virtual addresses
  stop                    ends the lab in order
  kill HOST               its power fails
  start HOST [UNIT]       it comes back, with all its units; or one unit
  cut HOST, heal HOST     its network cable is pulled, put back
  freeze HOST UNIT, thaw HOST UNIT, restart HOST UNIT, reload HOST UNIT
  logs HOST [UNIT]        what a unit wrote; without one, what happened to all of them
  run HOST -- COMMAND …   as root on the host
  render FILE             another description into the same folder; new hosts in it are machines without power
  install HOST            puts its rendered files in place and runs 05-prepare; a new host gets its power first
  script HOST PATH        runs a rendered script: changes/01-group001.a.sh
`

type Order = (lab: Lab, words: readonly string[], stop: () => void) => Promise<Answer>

const done = (stdout = '', exitCode = 0): Answer => ({ exitCode, stdout, stderr: '' })

/** An order about one host, and a unit of it where `needsUnit`. */
function onHost(
  work: (host: LabHost, unit: string, lab: Lab) => Promise<string | void>,
  needsUnit = false
): Order {
  return async (lab, [name, unit, ...surplus]) => {
    if (name === undefined)
      throw new LabError(`Name a host: ${lab.hosts.map(({ name }) => name).join(', ')}.`)
    const host = lab.host(name)
    if (needsUnit && unit === undefined) throw new LabError(`Name a unit: ${host.units.join(', ')}.`)
    if (surplus.length > 0 || (!needsUnit && unit !== undefined))
      throw new LabError(`That is too much: ${[...(needsUnit ? [] : [unit]), ...surplus].join(' ')}.`)
    return done((await work(host, unit ?? '', lab)) ?? '')
  }
}

const counted = (count: number): string => `${count} ${count === 1 ? 'process' : 'processes'}\n`

const TAKEN = new Map<string, Order>([
  ['status', async lab => done(await statusText(lab))],
  [
    'stop',
    async (_lab, _words, stop) => {
      stop()
      return done()
    }
  ],
  ['kill', onHost(demandUp(host => host.kill()))],
  [
    'start',
    async (lab, [name, unit, ...surplus]) => {
      const startUnit = demandUp((host, unit) => host.startUnit(unit))
      const startHost = async (host: LabHost): Promise<void> => {
        if (host.isUp) throw new LabError(`Host ${host.name} is up.`)
        await host.start()
      }
      const words = [name, unit, ...surplus].filter(word => word !== undefined)
      return onHost(unit === undefined ? startHost : startUnit, unit !== undefined)(lab, words, () => {})
    }
  ],
  ['cut', onHost(demandUp(host => host.cut()))],
  ['heal', onHost(demandUp(host => host.heal()))],
  [
    'freeze',
    onHost(
      demandUp(async (host, unit) => counted(await host.freeze(unit))),
      true
    )
  ],
  [
    'thaw',
    onHost(
      demandUp(async (host, unit) => counted(await host.thaw(unit))),
      true
    )
  ],
  [
    'restart',
    onHost(
      demandUp((host, unit) => host.restartUnit(unit)),
      true
    )
  ],
  [
    'reload',
    onHost(
      demandUp((host, unit) => host.reloadUnit(unit)),
      true
    )
  ],
  ['install', onHost(host => host.install())],
  [
    'script',
    async (lab, [name, path, ...surplus]) => {
      if (name === undefined || path === undefined || surplus.length > 0)
        throw new LabError('script HOST PATH')
      return done(await demandUp(host => host.runScript(path))(lab.host(name), ''))
    }
  ],
  [
    'render',
    async (lab, [description, ...surplus]) => {
      if (description === undefined || surplus.length > 0) throw new LabError('render FILE')
      const { written, scripts, notes } = await lab.renderAgain(description)
      const files = [...written.created, ...written.changed].map(path => `${path}\n`)
      const told = [...notes.map(note => `to do: ${note}\n`), ...scripts.map(script => `  ${script}\n`)]
      return done([...files, `${join(lab.rendered, 'README.md')} says what to do\n`, ...told].join(''))
    }
  ],
  [
    'logs',
    async (lab, [name, unit]) => {
      if (name === undefined) throw new LabError('Name a host.')
      return done(await lab.host(name).logs(unit))
    }
  ],
  [
    'run',
    async (lab, [name, ...command]) => {
      if (name === undefined || command.length === 0) throw new LabError('run HOST -- COMMAND …')
      const { exitCode, stdout, stderr } = await demandUp(host => host.run(command))(lab.host(name), '')
      return { exitCode: exitCode ?? 1, stdout, stderr }
    }
  ]
])

export const ORDERS: ReadonlySet<string> = new Set(TAKEN.keys())

/** @throws {LabError} the sentence to show */
export function takeOrder(lab: Lab, [order, ...words]: readonly string[], stop: () => void): Promise<Answer> {
  const taken = TAKEN.get(order ?? '')
  if (!taken) throw new LabError(`There is no order ${order}.`)
  return taken(lab, words, stop)
}

function demandUp<T>(work: (host: LabHost, unit: string) => Promise<T>) {
  return (host: LabHost, unit: string): Promise<T> => {
    if (!host.isUp) throw new LabError(`Host ${host.name} is down: start ${host.name} brings it back.`)
    return work(host, unit)
  }
}

async function statusText(lab: Lab): Promise<string> {
  const statuses = await Promise.all(lab.hosts.map(host => host.status()))
  const owners = lab.plan.virtualAddresses.map(({ name, address, port }) => {
    const owner = statuses.find(({ state, addresses }) => state === 'up' && addresses.includes(address))
    return `${name}: ${address}:${port} is at ${owner?.name ?? 'no host'}\n`
  })
  return `${statuses.map(hostText).join('')}${owners.join('')}`
}

function hostText({ name, address, state, units }: HostStatus): string {
  const rows = units.map(({ name, state, detail, processes }) => {
    const isFrozen = processes.some(({ state }) => state === 'T')
    const told = [isFrozen ? 'frozen' : '', detail].filter(Boolean).join(', ')
    return `  ${state.padEnd(12)} ${name}${told === '' ? '' : `  (${told})`}\n`
  })
  return `${name}  ${address}  ${state}\n${rows.join('')}`
}
