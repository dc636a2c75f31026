/** What a storage server has promised, and what it may or may not have done. */
import type { Address, FileKey } from '@tributary/protocol'
import { contentOf } from './random.ts'
import { Refused, WirePeer } from './wire-peer.ts'

const READERS = 8

/**
 * `stored`, `deleted`, `refused`: it was said so. `storing`, `deleting`: asked for, and nobody knows.
 */
export type Standing = 'stored' | 'deleted' | 'refused' | 'storing' | 'deleting'

export interface Entry {
  readonly file: string
  readonly sizeBytes: number
  state: Standing
}

export interface Verdict {
  whole: number
  absent: number
  /** Sentences; none where every promise was kept. */
  broken: string[]
}

export class Ledger {
  readonly user: string
  readonly entries = new Map<string, Entry>()

  constructor(user: string) {
    this.user = user
  }

  keyOf(file: string): FileKey {
    return { application: 'media', user: this.user, file }
  }

  /** Files whose upload was acknowledged and whose deletion was not asked for. */
  stored(): Entry[] {
    return [...this.entries.values()].filter(({ state }) => state === 'stored')
  }

  count(state: Standing): number {
    return [...this.entries.values()].filter(entry => entry.state === state).length
  }

  /** What was promised up to now, for a look at a copy of the disk of this moment. */
  snapshot(): Ledger {
    const copy = new Ledger(this.user)
    for (const [file, entry] of this.entries) copy.entries.set(file, { ...entry })
    return copy
  }

  async upload(peer: WirePeer, file: string, sizeBytes: number): Promise<void> {
    const entry: Entry = { file, sizeBytes, state: 'storing' }
    this.entries.set(file, entry)
    try {
      await peer.upload(this.keyOf(file), contentOf(file, sizeBytes))
      entry.state = 'stored'
    } catch (error) {
      if (error instanceof Refused && error.code !== 'OUTCOME_UNKNOWN') entry.state = 'refused'
      throw error
    }
  }

  async delete(peer: WirePeer, entry: Entry): Promise<void> {
    entry.state = 'deleting'
    try {
      await peer.delete(this.keyOf(entry.file))
      entry.state = 'deleted'
    } catch (error) {
      if (error instanceof Refused && error.code !== 'OUTCOME_UNKNOWN') entry.state = 'stored'
      throw error
    }
  }

  /** Reads every file back and compares it with what was promised; gives up when enough is broken. */
  async verify(address: Address, brokenMax = 20): Promise<Verdict> {
    const verdict: Verdict = { whole: 0, absent: 0, broken: [] }
    const entries = [...this.entries.values()]
    const readers = Array.from({ length: READERS }, async () => {
      const peer = await WirePeer.greeted(address)
      try {
        for (let entry = entries.pop(); entry && verdict.broken.length < brokenMax; entry = entries.pop()) {
          this.#judge(entry, await read(peer, this.keyOf(entry.file)), verdict)
          if (peer.lost) throw new Error('the server closed a connection in mid-verification')
        }
      } finally {
        peer.close()
      }
    })
    await Promise.all(readers)
    return verdict
  }

  #judge({ file, sizeBytes, state }: Entry, found: Buffer | Refused, verdict: Verdict): void {
    const { broken } = verdict
    if (found instanceof Refused) {
      if (found.code === 'FILE_NOT_FOUND' && state !== 'stored') verdict.absent++
      else if (state === 'stored') broken.push(`${file} was acknowledged and is gone: ${found.message}`)
      else broken.push(`${file} (${state}): ${found.message}`)
    } else if (!found.equals(contentOf(file, sizeBytes))) {
      broken.push(`${file} (${state}) is not what was sent: ${found.byteLength} of ${sizeBytes} bytes`)
    } else if (state === 'deleted') broken.push(`${file} was deleted and is there`)
    else if (state === 'refused') broken.push(`${file} was refused and is there`)
    else verdict.whole++
  }
}

async function read(peer: WirePeer, key: FileKey): Promise<Buffer | Refused> {
  try {
    return await peer.download(key)
  } catch (error) {
    if (error instanceof Refused) return error
    throw error
  }
}
