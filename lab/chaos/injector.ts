/** Does to a lab what a fault says, and undoes it. */
import type { Lab, LabHost } from '../lab.ts'
import type { Fault } from './fault.ts'

const COMMAND_MS = 20_000
/** What a brick's disk has left while it is full. */
const LEFT_BYTES = 4_096
const FILLER = '/srv/bricks/filler'
/** A kernel without netem gives delay and loss in its own way: a link so narrow that packets wait, and too many are dropped. */
const NARROW = ['tbf', 'rate', '4mbit', 'burst', '32kb']
/** netem keeps so many packets that wait. */
const NETEM_PACKETS = 20_000

/** Undoes a fault; undefined where it undoes itself. */
type Mend = () => Promise<void>

export class Injector {
  readonly #lab: Lab
  /** netem is a module that a kernel may lack. */
  #hasNetem: boolean | undefined

  constructor(lab: Lab) {
    this.#lab = lab
  }

  /** @returns how it is undone */
  async inflict(hostName: string, fault: Fault): Promise<Mend> {
    const host = this.#lab.host(hostName)
    switch (fault.kind) {
      case 'kill':
        await this.#signal(host, fault.unit, 'SIGKILL', fault.matching)
        // Nothing but glusterd's start brings a brick back.
        return async () => {
          if (fault.matching === 'glusterfsd') await host.restartUnit(fault.unit)
        }
      case 'freeze':
        await this.#signal(host, fault.unit, 'SIGSTOP', fault.matching)
        return () => this.#signal(host, fault.unit, 'SIGCONT', fault.matching)
      case 'restart': {
        // One that finds nobody, as its host is cut off, is started again until it does.
        const restarted = host.restartUnit(fault.unit).catch(() => {})
        return () => restarted
      }
      case 'cut':
        await host.cut()
        return () => host.heal()
      case 'power':
        await host.kill()
        return () => host.start()
      case 'disk':
        return this.#fillDisk(host)
      case 'link':
        return this.#spoilLink(host, fault.delayMs, fault.lossPercent)
      case 'heal': {
        // refused where a brick is away; whole again is waited for in any case
        await host.run(['gluster', '--mode=script', 'volume', 'heal', fault.volume, 'full'], {
          timeoutMs: COMMAND_MS
        })
        return async () => {}
      }
    }
  }

  /** Of a mount, also what the watcher of mounts has started in place of a dead one. */
  async #signal(host: LabHost, unit: string, signal: NodeJS.Signals, matching: string): Promise<void> {
    await host.signal(unit, signal, matching)
    if (unit.endsWith('.mount')) await host.signal('tributary-mounts', signal, matching)
  }

  async #fillDisk(host: LabHost): Promise<Mend> {
    const { stdout } = await host.run(['df', '--output=avail', '--block-size=1', '/srv/bricks'])
    const bytes = Number(stdout.trim().split('\n').at(-1)) - LEFT_BYTES
    await host.run(['fallocate', '--length', String(Math.max(bytes, LEFT_BYTES)), FILLER])
    return async () => {
      const { exitCode, stderr } = await host.run(['rm', '-f', FILLER])
      if (exitCode !== 0) throw new Error(`the disk of ${host.name} stays full: ${stderr}`)
    }
  }

  /** At both ends of the cable, so that both directions suffer. */
  async #spoilLink(host: LabHost, delayMs: number, lossPercent: number): Promise<Mend> {
    const delay = ['delay', `${delayMs / 2}ms`, `${delayMs / 4}ms`]
    const netem = ['netem', 'limit', String(NETEM_PACKETS), ...delay, 'loss', `${lossPercent / 2}%`]
    const narrow = [...NARROW, 'latency', `${delayMs}ms`]
    const { device } = this.#lab.plan.hosts.find(({ name }) => name === host.name)!
    const tc = async (words: readonly string[]): Promise<boolean> => {
      const inside = await host.run(['tc', 'qdisc', words[0]!, 'dev', device, 'root', ...words.slice(1)])
      const outside = await this.#lab.exec([
        'tc',
        'qdisc',
        words[0]!,
        'dev',
        host.port,
        'root',
        ...words.slice(1)
      ])
      return inside.exitCode === 0 && outside.exitCode === 0
    }
    this.#hasNetem ??= await this.#knowsNetem(host)
    if (!(await tc(['add', ...(this.#hasNetem ? netem : narrow)])))
      throw new Error(`tc fails on ${host.name}`)
    return async () => {
      await tc(['del'])
    }
  }

  async #knowsNetem(host: LabHost): Promise<boolean> {
    const { exitCode } = await host.run(['tc', 'qdisc', 'add', 'dev', 'lo', 'root', 'netem', 'delay', '0ms'])
    await host.run(['tc', 'qdisc', 'del', 'dev', 'lo', 'root'])
    return exitCode === 0
  }
}
