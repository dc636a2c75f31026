/** Reads, uploads and requests that never stop, and the longest time that each kind had to wait. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Channel } from '../../lab/channel.ts'
import type { Lab } from '../../lab/lab.ts'

/** read, upload: through the client library. address: whether the virtual address answers. http: a file through it. */
export type Kind = 'read' | 'upload' | 'address' | 'http'

/** Ways to a file beside the library. */
export interface Doors {
  readonly members: readonly string[]
  readonly gateways: readonly string[]
}

export interface TrafficSetup {
  readonly trackers: readonly string[]
  /** Of the gateways' virtual address. */
  readonly virtual: string
  readonly token: string
}

export interface KindReport {
  readonly count: number
  /** Between two successes; up to now, where none followed. */
  readonly longestGapMs: number
  /** How often what went wrong. */
  readonly failures: Readonly<Record<string, number>>
}

export type TrafficReport = Readonly<Record<Kind, KindReport>> & { readonly acknowledged: number }

export class Traffic {
  readonly setup: TrafficSetup
  readonly #lab: Lab
  readonly #channel: Channel
  readonly #kill: () => void

  private constructor(lab: Lab, setup: TrafficSetup, channel: Channel, kill: () => void) {
    this.#lab = lab
    this.setup = setup
    this.#channel = channel
    this.#kill = kill
  }

  /** @param files stored before the readers begin */
  static async begin(lab: Lab, files: number): Promise<Traffic> {
    const { host, port } = lab.address('gateway')
    const gateway = lab.hostsWith('gateway')[0]!
    const setup: TrafficSetup = {
      trackers: addressesOf(lab, 'tracker', 21_000),
      virtual: `http://${host}:${port}`,
      token: (await readFile(join(gateway.folder, 'etc/tributary/write-token'), 'utf8')).trim()
    }
    const child = lab.fork(new URL('./traffic-worker.ts', import.meta.url), [JSON.stringify(setup)])
    const channel = new Channel(child, () => {
      throw new Error('traffic asks nothing')
    })
    const traffic = new Traffic(lab, setup, channel, () => child.kill('SIGKILL'))
    await channel.call('start', { files })
    return traffic
  }

  /** What happened since the last report, or since `restart`. */
  report(): Promise<TrafficReport> {
    return this.#channel.call('report') as Promise<TrafficReport>
  }

  async restart(): Promise<void> {
    await this.#channel.call('restart')
  }

  /** Stores a file over HTTP. @returns the status */
  put(base: string, file: string): Promise<number> {
    return this.#channel.call('put', { base, file }) as Promise<number>
  }

  /**
   * Reads these files, or everything acknowledged, through the library, and through every gateway and every member by
   * itself that the lab has now; there, of more than 2,000, so many evenly spread.
   *
   * @returns what did not come back whole
   */
  verify(files?: readonly string[]): Promise<string[]> {
    const doors: Doors = {
      members: addressesOf(this.#lab, 'storage', 23_000),
      gateways: addressesOf(this.#lab, 'gateway', 8_080).map(address => `http://${address}`)
    }
    return this.#channel.call('verify', { files, doors }) as Promise<string[]>
  }

  /** Reads everything acknowledged from one member (`host:port`) on the wire. @returns what did not come back whole */
  readAllFrom(member: string): Promise<{ files: number; broken: string[] }> {
    return this.#channel.call('readAllFrom', { member }) as Promise<{ files: number; broken: string[] }>
  }

  /** Stores a file through one member (`host:port`) on the wire; it counts as acknowledged. @returns its name. @throws refused */
  putInto(member: string): Promise<string> {
    return this.#channel.call('putInto', { member }) as Promise<string>
  }

  /** Members that this tracker alone takes for active; -1: it does not answer. */
  active(tracker: string): Promise<number> {
    return this.#channel.call('active', { tracker }) as Promise<number>
  }

  end(): void {
    this.#kill()
  }
}

function addressesOf(lab: Lab, role: string, port: number): string[] {
  return lab.hostsWith(role).map(({ address }) => `${address}:${port}`)
}
