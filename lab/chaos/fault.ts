/** What is done to a cluster, computed from a seed and the cluster's plan alone: the same seed, the same faults in the same order. */
import type { Random } from '../../test/faults/random.ts'
import type { Plan, PlanHost } from '../plan.ts'

/** `unit` without its ending; `matching`: which of its processes, as a regular expression; empty: all. */
interface OfProcess {
  readonly unit: string
  readonly matching: string
  /** For people: `tracker`, `brick` … */
  readonly what: string
}

export type Fault =
  /** kill -9. */
  | ({ readonly kind: 'kill' } & OfProcess)
  /** kill -STOP for the round, then -CONT. */
  | ({ readonly kind: 'freeze' } & OfProcess)
  /** In order, as an operator does. */
  | ({ readonly kind: 'restart' } & OfProcess)
  /** The network cable is pulled for the round. */
  | { readonly kind: 'cut' }
  /** The whole host dies, and comes back at the end of the round. */
  | { readonly kind: 'power' }
  /** The brick's disk is filled for the round. */
  | { readonly kind: 'disk' }
  /** The host's link is slow and loses packets for the round. */
  | { readonly kind: 'link'; readonly delayMs: number; readonly lossPercent: number }
  /** A full heal of this volume is asked for, in the midst of all. */
  | { readonly kind: 'heal'; readonly volume: string }

/** All that befalls one host at the same time. Nothing else happens until the cluster is whole again. */
export interface Round {
  readonly host: string
  readonly faults: readonly Fault[]
  /** How long it lasts before it is mended. */
  readonly holdMs: number
  /** At peace, after the cluster is whole and before the next round. */
  readonly restMs: number
}

type Card = Fault['kind']

/** Dealt out before it is shuffled again, so that a short run has seen a bit of everything. */
const DECK: readonly Card[] = [
  ...(['kill', 'kill', 'kill', 'freeze', 'freeze', 'restart'] as const),
  ...(['cut', 'power', 'disk', 'link', 'heal'] as const)
]
/** One in so many rounds has two faults at once, on the same host. */
const TWICE = 3
const HOLD_MS_MIN: Readonly<Record<Card, number>> = {
  kill: 4_000,
  freeze: 6_000,
  restart: 3_000,
  cut: 10_000,
  power: 10_000,
  disk: 8_000,
  link: 10_000,
  heal: 2_000
}
const HOLD_MS_MORE = 5_000
const REST_MS_MIN = 1_000
const REST_MS_MORE = 3_000
const DELAY_MS_MORE = 200
const LOSS_PERCENT_MORE = 10

/** Never ends. Whoever takes a round waits for the cluster to be whole before the next. */
export function* roundsOf(random: Random, plan: Plan): Generator<Round> {
  let deck: Card[] = []
  const deal = (): Card => {
    if (deck.length === 0) deck = shuffled(DECK, random)
    return deck.pop()!
  }
  for (;;) {
    const host = random.pick(plan.hosts)
    const cards = [deal(), ...(random.below(TWICE) === 0 ? [deal()] : [])]
    const faults = cards.map(card => faultOf(card, host, plan, random))
    const holdMs = Math.max(...faults.map(({ kind }) => HOLD_MS_MIN[kind])) + random.below(HOLD_MS_MORE)
    yield {
      host: host.name,
      faults: compatible(faults),
      holdMs,
      restMs: REST_MS_MIN + random.below(REST_MS_MORE)
    }
  }
}

/** A host that is dead can suffer nothing else; the same fault twice is one. */
function compatible(faults: readonly Fault[]): Fault[] {
  const power = faults.find(({ kind }) => kind === 'power')
  if (power) return [power]
  const [first, second] = faults
  const isSame = second && (textOf(first!) === textOf(second) || targetOf(first!) === targetOf(second))
  return isSame || !second ? [first!] : [first!, second]
}

const targetOf = (fault: Fault): string => ('unit' in fault ? fault.unit : fault.kind)

function faultOf(card: Card, host: PlanHost, plan: Plan, random: Random): Fault {
  const hasBrick = host.roles.includes('brick')
  switch (card) {
    case 'kill':
    case 'freeze':
      return { kind: card, ...random.pick(processesOf(host, plan)) }
    case 'restart':
      return { kind: card, ...random.pick(processesOf(host, plan).filter(({ matching }) => matching === '')) }
    case 'link':
      return {
        kind: card,
        delayMs: 1 + random.below(DELAY_MS_MORE),
        lossPercent: 1 + random.below(LOSS_PERCENT_MORE)
      }
    case 'heal':
      return hasBrick ? { kind: card, volume: random.pick(volumesOf(host, plan)) } : { kind: 'cut' }
    case 'disk':
      return hasBrick ? { kind: card } : { kind: 'cut' }
    case 'cut':
    case 'power':
      return { kind: card }
  }
}

function volumesOf(host: PlanHost, plan: Plan): string[] {
  return plan.groups
    .filter(({ members, arbiter }) => members.includes(host.name) || arbiter === host.name)
    .map(({ volume }) => volume)
}

/** Every process of a host that may be killed or frozen by itself. */
export function processesOf(host: PlanHost, plan: Pick<Plan, 'groups'>): OfProcess[] {
  const services = host.units
    .filter(unit => unit.endsWith('.service'))
    .map(unit => unit.replace('.service', ''))
  const whole = services
    .filter(unit => unit !== 'glusterd' && unit !== 'tributary-mounts')
    .map(unit => ({ unit, matching: '', what: unit.replace('tributary-', '') }))
  const ofGluster = services.includes('glusterd')
    ? [
        { unit: 'glusterd', matching: 'sbin/glusterd', what: 'glusterd' },
        ...(host.roles.includes('brick') ? [{ unit: 'glusterd', matching: 'glusterfsd', what: 'brick' }] : [])
      ]
    : []
  const mounts = plan.groups
    .filter(({ members }) => members.includes(host.name))
    .map(({ mount }) => ({ unit: mountUnit(mount), matching: 'sbin/glusterfs ', what: 'mount' }))
  const workers = services
    .filter(unit => unit.startsWith('tributary-storage'))
    .map(unit => ({ unit, matching: 'worker/main', what: 'data worker' }))
  return [...whole, ...ofGluster, ...mounts, ...workers]
}

const mountUnit = (mount: string): string => `${mount.slice(1).replaceAll('/', '-')}.mount`

function shuffled<T>(list: readonly T[], random: Random): T[] {
  const result = [...list]
  for (let at = result.length - 1; at > 0; at--) {
    const other = random.below(at + 1)
    ;[result[at], result[other]] = [result[other]!, result[at]!]
  }
  return result
}

/** In a few words, for a timeline. */
export function textOf(fault: Fault): string {
  switch (fault.kind) {
    case 'kill':
    case 'freeze':
    case 'restart':
      return `${fault.kind} ${fault.what}`
    case 'cut':
      return 'cable pulled'
    case 'power':
      return 'power off'
    case 'disk':
      return 'disk full'
    case 'link':
      return `link with ${fault.delayMs} ms of delay and ${fault.lossPercent} % of loss`
    case 'heal':
      return `full heal of ${fault.volume}`
  }
}
