/** The longest that clients may have to wait: what docs/OPERATIONS.md promises, on a machine as slow as this one was just then. */
import type { Kind } from './clients.ts'

/**
 * On an idle machine. GlusterFS gives up a silent copy after 5 s (its ping-timeout), and a frozen database node holds writes
 * for Galera's 4 s; both may follow one another. An address leaves a gateway that is frozen when Keepalived has asked it twice. Deletes are asked for so seldom that their gaps say nothing.
 */
export const GAP_MS_MAX: Readonly<Partial<Record<Kind, number>>> = {
  read: 10_000,
  upload: 18_000,
  httpRead: 12_000,
  httpUpload: 25_000,
  address: 4_000
}
/** A gap while the machine was slower than so much says something about the machine, and nothing about the cluster. */
export const SLOWNESS_JUDGED_MAX = 3

/**
 * While a host's link is slow or loses packets. The address stays there, as the host lives and its neighbours hear it: whoever asks has to ask
 * again, as for a file.
 */
export const LINK_GAP_MS_MAX: Readonly<Partial<Record<Kind, number>>> = { address: 12_000 }

export function boundOf(kind: Kind, isLinkBad: boolean): number | undefined {
  return (isLinkBad ? LINK_GAP_MS_MAX[kind] : undefined) ?? GAP_MS_MAX[kind]
}

export type GapVerdict = 'kept' | 'broken' | 'not judged'

/** @param slowness of the machine while the gap lasted; 1: idle */
export function judgeGap(kind: Kind, gapMs: number, slowness: number, isLinkBad = false): GapVerdict {
  const boundMs = boundOf(kind, isLinkBad)
  if (boundMs === undefined || gapMs <= boundMs) return 'kept'
  if (slowness > SLOWNESS_JUDGED_MAX) return 'not judged'
  return gapMs <= boundMs * Math.max(1, slowness) ? 'kept' : 'broken'
}
