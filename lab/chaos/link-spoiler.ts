/** A slow and lossy link, by what the kernel at hand has. */
import type { Lab, LabHost } from '../lab.ts'

/**
 * netem      delay and loss, as asked for.
 * nft + tbf  loss as asked for: a rule of nftables drops packets at random as they come in, at either end of the cable. The delay
 *            is that of a narrow link: packets wait, the longer the more there are, for so long at most.
 * tbf        the narrow link alone: nothing is lost but what would have to wait longer.
 */
export type LinkMeans = 'netem' | 'nft + tbf' | 'tbf'

export interface SpoiltLink {
  readonly means: LinkMeans
  /** Why it did nothing; undefined: it did. */
  readonly inert: string | undefined
  readonly mend: () => Promise<void>
}

const NARROW = ['tbf', 'rate', '4mbit', 'burst', '32kb']
/** netem keeps so many packets that wait. */
const NETEM_PACKETS = 20_000
/** Of the table of rules that is at an end of the cable while it is spoilt. */
const TABLE = 'chaos'
/** Loss is drawn from so many. */
const DRAWS = 10_000

/** A program that is run at one end of the cable. @returns whether it succeeded */
type Run = (command: readonly string[]) => Promise<boolean>

/** One of the two ends, and what the link is called there. */
interface End {
  readonly device: string
  readonly run: Run
}

export class LinkSpoiler {
  readonly #lab: Pick<Lab, 'plan' | 'exec'>
  /** netem is a module that a kernel may lack, and nftables a package that a machine may. */
  #means: LinkMeans | undefined

  constructor(lab: Pick<Lab, 'plan' | 'exec'>) {
    this.#lab = lab
  }

  /** Both directions suffer half of the delay and of the loss each. */
  async spoil(
    host: Pick<LabHost, 'name' | 'port' | 'run'>,
    delayMs: number,
    lossPercent: number
  ): Promise<SpoiltLink> {
    const ends = this.#endsOf(host)
    const means = (this.#means ??= await meansAt(ends))
    const work = ends.map(async end => {
      const isSlow = await end.run(qdisc('add', end.device, shapeOf(means, delayMs, lossPercent)))
      const isLossy =
        means !== 'nft + tbf' || (await end.run(['nft', lossRules(end.device, lossPercent / 2)]))
      return isSlow && isLossy
    })
    const isSpoilt = (await Promise.all(work)).every(Boolean)
    const mend = async (): Promise<void> => {
      for (const end of ends) {
        await end.run(qdisc('del', end.device))
        if (means === 'nft + tbf') await end.run(['nft', 'delete', 'table', 'netdev', TABLE])
      }
    }
    return { means, inert: isSpoilt ? undefined : `${means} failed at an end of the cable`, mend }
  }

  #endsOf(host: Pick<LabHost, 'name' | 'port' | 'run'>): End[] {
    const { device } = this.#lab.plan.hosts.find(({ name }) => name === host.name)!
    return [
      { device, run: async command => isDone(await host.run(command)) },
      { device: host.port, run: async command => isDone(await this.#lab.exec(command)) }
    ]
  }
}

const isDone = ({ exitCode }: { exitCode: number | null }): boolean => exitCode === 0

function qdisc(verb: 'add' | 'del', device: string, shape: readonly string[] = []): string[] {
  return ['tc', 'qdisc', verb, 'dev', device, 'root', ...shape]
}

function shapeOf(means: LinkMeans, delayMs: number, lossPercent: number): string[] {
  if (means !== 'netem') return [...NARROW, 'latency', `${delayMs}ms`]
  const delay = ['delay', `${delayMs / 2}ms`, `${delayMs / 4}ms`]
  return ['netem', 'limit', String(NETEM_PACKETS), ...delay, 'loss', `${lossPercent / 2}%`]
}

/** For `nft`: of what comes in by this device so many percent are dropped, whatever they are. */
export function lossRules(device: string, percent: number): string {
  const chain = `type filter hook ingress device "${device}" priority 0; policy accept;`
  const rule = `numgen random mod ${DRAWS} < ${Math.round((percent / 100) * DRAWS)} counter drop;`
  return `table netdev ${TABLE} {\n  chain loss {\n    ${chain}\n    ${rule}\n  }\n}\n`
}

/** The best that both ends can do; tried on the device that leads nowhere else. */
async function meansAt(ends: readonly End[]): Promise<LinkMeans> {
  const everywhere = async (tried: (run: Run) => Promise<boolean>): Promise<boolean> =>
    (await Promise.all(ends.map(({ run }) => tried(run)))).every(Boolean)
  if (await everywhere(knowsNetem)) return 'netem'
  return (await everywhere(knowsLoss)) ? 'nft + tbf' : 'tbf'
}

async function knowsNetem(run: Run): Promise<boolean> {
  const isKnown = await run(qdisc('add', 'lo', ['netem', 'delay', '0ms']))
  if (isKnown) await run(qdisc('del', 'lo'))
  return isKnown
}

async function knowsLoss(run: Run): Promise<boolean> {
  const isKnown = await run(['nft', lossRules('lo', 1)]).catch(() => false) // no such program
  if (isKnown) await run(['nft', 'delete', 'table', 'netdev', TABLE])
  return isKnown
}
