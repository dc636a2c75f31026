/** Orders in which the members of a group are handed out, drawn in advance. */
import { ADDRESSES_MAX } from '@tributary/protocol'

/** Orders per member, so that shares come out true, within bounds. */
const ORDERS_PER_MEMBER = 8
const ORDERS_MIN = 32
const ORDERS_MAX = 256

export interface Candidate {
  /** Share among the others; above 0. */
  readonly weight: number
  /** Handed out behind all others. */
  readonly suspect: boolean
}

/**
 * Draws orders of at most three members each. Every member that is no suspect comes first in its share of them, and
 * in at least one, so that nobody is always first and nobody never (of more than ORDERS_MAX members: some).
 *
 * @param random 0 up to, not including, 1.
 * @returns Positions in `candidates`; empty where there are none.
 */
export function drawOrders(candidates: readonly Candidate[], random: () => number): number[][] {
  if (candidates.length === 0) return []
  const trusted = positionsOf(candidates, false)
  const suspects = positionsOf(candidates, true)
  const heads = trusted.length > 0 ? trusted : suspects
  const firsts = drawFirsts(candidates, heads, random)
  return firsts.map(first => {
    const order = [first]
    drawInto(order, candidates, trusted, random)
    drawInto(order, candidates, suspects, random)
    return order
  })
}

function drawFirsts(
  candidates: readonly Candidate[],
  heads: readonly number[],
  random: () => number
): number[] {
  const orders = Math.min(Math.max(heads.length * ORDERS_PER_MEMBER, ORDERS_MIN), ORDERS_MAX)
  const firsts: number[] = []
  if (heads.length > orders) {
    for (let at = 0; at < orders; at++) firsts.push(pick(candidates, heads, random))
    return firsts
  }
  const total = heads.reduce((sum, at) => sum + candidates[at]!.weight, 0)
  for (const at of heads) {
    const share = Math.max(1, Math.round((candidates[at]!.weight / total) * orders))
    for (let times = 0; times < share; times++) firsts.push(at)
  }
  return shuffled(firsts, random)
}

/** Adds members of `from` that are not in `order` yet, until it is full. */
function drawInto(
  order: number[],
  candidates: readonly Candidate[],
  from: readonly number[],
  random: () => number
): void {
  const rest = from.filter(at => !order.includes(at))
  while (order.length < ADDRESSES_MAX && rest.length > 0) {
    const at = pick(candidates, rest, random)
    rest.splice(rest.indexOf(at), 1)
    order.push(at)
  }
}

/** One of `from`, by weight. */
function pick(candidates: readonly Candidate[], from: readonly number[], random: () => number): number {
  let left = random() * from.reduce((sum, at) => sum + candidates[at]!.weight, 0)
  for (const at of from) {
    left -= candidates[at]!.weight
    if (left < 0) return at
  }
  return from.at(-1)!
}

function shuffled(values: number[], random: () => number): number[] {
  for (let at = values.length - 1; at > 0; at--) {
    const other = Math.floor(random() * (at + 1))
    const value = values[at]!
    values[at] = values[other]!
    values[other] = value
  }
  return values
}

function positionsOf(candidates: readonly Candidate[], suspect: boolean): number[] {
  const positions: number[] = []
  for (const [at, candidate] of candidates.entries()) if (candidate.suspect === suspect) positions.push(at)
  return positions
}
