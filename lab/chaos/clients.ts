/** Busy clients in the network of a lab, with their ledger; they live in a process of their own (clients-worker.ts). */
import type { ChildProcess } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Verdict } from '../../test/testkit/cluster-load.ts'
import { Channel } from '../channel.ts'
import type { Lab } from '../lab.ts'
import type { KindReport } from './gap-meter.ts'

/** Reads, uploads and deletes by each way; `address`: whether the gateways' virtual address answers at all. */
export const KINDS = ['read', 'upload', 'delete', 'httpRead', 'httpUpload', 'httpDelete', 'address'] as const
export type Kind = (typeof KINDS)[number]
export type KindReports = Readonly<Record<Kind, KindReport>>

export interface ClientsSetup {
  readonly seed: number
  readonly trackers: readonly string[]
  /** `host:port`, with the group that it belongs to. */
  readonly members: readonly { readonly address: string; readonly group: string }[]
  /** URLs of every gateway by itself, and of their virtual address. */
  readonly gateways: readonly string[]
  readonly virtual: string
  readonly token: string
  /** Where the cluster has one. */
  readonly clusterKey: string | undefined
}

export interface LedgerCounts {
  readonly stored: number
  readonly deleted: number
  /** Nobody knows what became of them. */
  readonly unknown: number
}

export interface ThroughDoor {
  readonly door: string
  readonly verdict: Verdict
}

export interface ReadBack {
  readonly doors: readonly ThroughDoor[]
  /** Sentences; none where every promise was kept. */
  readonly broken: readonly string[]
}

const ROLE_PORTS = { tracker: 21_000, gateway: 8_080, storage: 23_000 }

export class Clients {
  readonly #channel: Channel
  readonly #child: ChildProcess

  private constructor(channel: Channel, child: ChildProcess) {
    this.#channel = channel
    this.#child = child
  }

  /** They begin at once. */
  static async start(lab: Lab, seed: number): Promise<Clients> {
    const child = lab.fork(new URL('./clients-worker.ts', import.meta.url), [
      JSON.stringify(await setupOf(lab, seed))
    ])
    const channel = new Channel(child, () => {
      throw new Error('clients ask nothing')
    })
    await channel.call('start')
    return new Clients(channel, child)
  }

  /** What happened since the last report. */
  report(): Promise<KindReports> {
    return this.#channel.call('report') as Promise<KindReports>
  }

  ledger(): Promise<LedgerCounts> {
    return this.#channel.call('ledger') as Promise<LedgerCounts>
  }

  /** Sentences about promises that were broken since this was last asked. */
  broken(): Promise<string[]> {
    return this.#channel.call('broken') as Promise<string[]>
  }

  /** No new operation begins. Resolves when all have ended. */
  async quiet(): Promise<void> {
    await this.#channel.call('quiet')
  }

  /** Reads every file back through the library, each member by itself, each gateway and the virtual address. */
  verify(): Promise<ReadBack> {
    return this.#channel.call('verify') as Promise<ReadBack>
  }

  /** How many members this tracker alone takes for active. */
  active(tracker: string): Promise<number> {
    return this.#channel.call('active', { tracker }) as Promise<number>
  }

  end(): void {
    this.#child.kill('SIGKILL')
  }
}

/** `host:port` of every tracker. */
export function trackersOf(lab: Lab): string[] {
  return lab.hostsWith('tracker').map(({ address }) => `${address}:${ROLE_PORTS.tracker}`)
}

async function setupOf(lab: Lab, seed: number): Promise<ClientsSetup> {
  const { host, port } = lab.address('gateway')
  const gateways = lab.hostsWith('gateway')
  const members = lab.plan.groups.flatMap(({ name, members }) =>
    members.map(member => ({ address: `${lab.host(member).address}:${ROLE_PORTS.storage}`, group: name }))
  )
  return {
    seed,
    trackers: trackersOf(lab),
    members,
    gateways: gateways.map(({ address }) => `http://${address}:${ROLE_PORTS.gateway}`),
    virtual: `http://${host}:${port}`,
    token: (await readFile(join(gateways[0]!.folder, 'etc/tributary/write-token'), 'utf8')).trim(),
    clusterKey: await readFile(join(gateways[0]!.folder, 'etc/tributary/cluster-key'), 'utf8').then(
      text => text.trim(),
      () => undefined // it has none
    )
  }
}
