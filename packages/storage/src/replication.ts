/**
 * How many copies of a store's content there are right now. The mirroring itself is somebody else's work (GlusterFS, or a
 * disk array, or nobody's); this is what a storage server needs to know of it. Asked on the way of every write, so that it
 * answers from what was learnt in the background, and never waits for a disk.
 */
import { UnavailableError } from '@tributary/protocol'

export interface Copies {
  /** Whole copies that a write reaches now. */
  reachable: number
  /** As many as there should be. */
  wanted: number
}

export interface Replication {
  copiesNow(): Copies
  /** Whether every copy has everything; undefined: nobody has said so lately. */
  isHealed(): boolean | undefined
  /** Entries that some copy lacks; undefined: not known. */
  unhealedEntries(): number | undefined
  /** What is wrong, in words; undefined: as many copies as wanted, as far as is known. */
  trouble(): string | undefined
  /**
   * Resolves once `count` copies can be reached.
   *
   * @throws {UnavailableError} DEGRADED: they could not be by the deadline.
   */
  waitForCopies(count: number, deadline: AbortSignal): Promise<void>
  /** Learns anew; whoever owns it calls this again and again. Never rejects. */
  refresh(): Promise<void>
}

/** With fewer copies than this a new file could be lost with one machine. */
export const SAFE_COPIES = 2
const LOOK_MS = 50

/** Whether what is written now would have fewer copies than is safe. A store that wants one copy is content with it. */
export function isDegraded({ reachable, wanted }: Copies): boolean {
  return reachable < Math.min(SAFE_COPIES, wanted)
}

/** Waits on any replication by looking again. */
export async function untilCopies(
  replication: Replication,
  count: number,
  deadline: AbortSignal
): Promise<void> {
  while (replication.copiesNow().reachable < count) {
    if (deadline.aborted) {
      const { reachable } = replication.copiesNow()
      throw new UnavailableError('DEGRADED', `${count} copies were wanted, and ${reachable} can be reached`)
    }
    await new Promise(resolve => setTimeout(resolve, LOOK_MS))
    await replication.refresh()
  }
}

/** A store that is one copy by itself, or whose mirroring is not our concern: a local disk, a disk array. */
export class SharedStore implements Replication {
  copiesNow(): Copies {
    return { reachable: 1, wanted: 1 }
  }

  isHealed(): boolean {
    return true
  }

  unhealedEntries(): number {
    return 0
  }

  trouble(): undefined {
    return undefined
  }

  waitForCopies(count: number, deadline: AbortSignal): Promise<void> {
    return untilCopies(this, count, deadline)
  }

  async refresh(): Promise<void> {}
}
