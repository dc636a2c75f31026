/** Does to a lab what a fault says, and undoes it; and says what really came of it. */
import type { Lab, LabHost } from '../lab.ts'
import { textOf, type Fault } from './fault.ts'
import { LinkSpoiler } from './link-spoiler.ts'

const COMMAND_MS = 20_000
/** What a brick's disk has left while it is full. */
const LEFT_BYTES = 4_096
/** A disk counts as full with no more than this. */
const LEFT_BYTES_MAX = 256 * 1024
/** While it is filled, clients take of it and give back. */
const FILLERS = [1, 2, 3, 4, 5].map(number => `/srv/bricks/filler-${number}`)

/** What a fault came to. */
export interface Inflicted {
  /** In a few words, for a timeline: also by which means, where there are several. */
  readonly text: string
  /** Why it did nothing; undefined: it did. */
  readonly inert: string | undefined
  /** Undoes it; nothing where it undoes itself. */
  readonly mend: () => Promise<void>
}

/** A part of a lab's host that faults need. */
export type Victim = Pick<
  LabHost,
  'name' | 'port' | 'signal' | 'restartUnit' | 'cut' | 'heal' | 'kill' | 'start' | 'run'
>

export class Injector {
  readonly #host: (name: string) => Victim
  readonly #links: LinkSpoiler

  constructor(lab: Pick<Lab, 'plan' | 'exec'> & { host(name: string): Victim }) {
    this.#host = name => lab.host(name)
    this.#links = new LinkSpoiler(lab)
  }

  async inflict(hostName: string, fault: Fault): Promise<Inflicted> {
    const host = this.#host(hostName)
    const done = (mend: () => Promise<void> = async () => {}): Inflicted => ({
      text: textOf(fault),
      inert: undefined,
      mend
    })
    switch (fault.kind) {
      case 'kill': {
        const count = await signal(host, fault.unit, 'SIGKILL', fault.matching)
        // Nothing but glusterd's start brings a brick back.
        const mend = async (): Promise<void> => {
          if (fault.matching === 'glusterfsd') await host.restartUnit(fault.unit)
        }
        return { ...done(mend), inert: nobody(count) }
      }
      case 'freeze': {
        const count = await signal(host, fault.unit, 'SIGSTOP', fault.matching)
        const mend = async (): Promise<void> =>
          void (await signal(host, fault.unit, 'SIGCONT', fault.matching))
        return { ...done(mend), inert: nobody(count) }
      }
      case 'restart': {
        // One that finds nobody, as its host is cut off, is started again until it does.
        const restarted = host.restartUnit(fault.unit).catch(() => {})
        return done(() => restarted)
      }
      case 'cut':
        await host.cut()
        return done(() => host.heal())
      case 'power':
        await host.kill()
        return done(() => host.start())
      case 'disk':
        return { ...done(() => emptyDisk(host)), inert: await fillDisk(host) }
      case 'link': {
        const { delayMs, lossPercent } = fault
        const { means, inert, mend } = await this.#links.spoil(host, delayMs, lossPercent)
        return { text: `${textOf(fault)} by ${means}`, inert, mend }
      }
      case 'heal': {
        // Refused where a brick is away; whole again is waited for in any case.
        const command = ['gluster', '--mode=script', 'volume', 'heal', fault.volume, 'full']
        const { exitCode, stdout, stderr } = await host.run(command, { timeoutMs: COMMAND_MS })
        return { ...done(), inert: exitCode === 0 ? undefined : lastLine(stderr || stdout) }
      }
    }
  }
}

/** Of a mount, also what the watcher of mounts has started in place of a dead one. @returns how many processes */
async function signal(host: Victim, unit: string, name: NodeJS.Signals, matching: string): Promise<number> {
  const count = await host.signal(unit, name, matching)
  return unit.endsWith('.mount') ? count + (await host.signal('tributary-mounts', name, matching)) : count
}

const nobody = (count: number): string | undefined => (count > 0 ? undefined : 'no such process ran')

/** @returns why the disk is not full; undefined: it is */
async function fillDisk(host: Victim): Promise<string | undefined> {
  let left = Infinity
  let trouble = ''
  for (const filler of FILLERS) {
    const bytes = Math.max((await leftBytes(host)) - LEFT_BYTES, LEFT_BYTES)
    const { exitCode, stderr } = await host.run(['fallocate', '--length', String(bytes), filler])
    if (exitCode !== 0) trouble = `: ${lastLine(stderr)}`
    left = await leftBytes(host)
    if (left <= LEFT_BYTES_MAX) return undefined
  }
  return `${left} bytes are left${trouble}`
}

async function leftBytes(host: Victim): Promise<number> {
  const { stdout } = await host.run(['df', '--output=avail', '--block-size=1', '/srv/bricks'])
  return Number(lastLine(stdout))
}

async function emptyDisk(host: Victim): Promise<void> {
  const { exitCode, stderr } = await host.run(['rm', '-f', ...FILLERS])
  if (exitCode !== 0) throw new Error(`the disk of ${host.name} stays full: ${stderr}`)
}

const lastLine = (text: string): string => text.trim().split('\n').at(-1) ?? ''
