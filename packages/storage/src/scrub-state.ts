/**
 * How far the reading of a store's files has come, kept in the store, so that any member goes on where another one
 * stopped. Only the holder of the scrub's lease writes it.
 *
 *   <store>/.scrub/state.json
 */
import { readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { makeStoreDirectory } from './store-directory.ts'

const FOLDER = '.scrub'
const FILE = '.scrub/state.json'
const FORMAT = 1

export interface ScrubRound {
  startedAtMs: number
  /** Read so far, or in all. */
  files: number
  bytes: number
}

export interface ScrubFinding {
  kind: 'missing' | 'wrong-size' | 'wrong-checksum' | 'unreadable'
  path: string
  /** application/user/file */
  file: string
  generation: string
  detail: string
  /** UNIX milliseconds. */
  foundAtMs: number
  /** The writer that found it: on a mirrored volume each member may read another copy. */
  foundBy: string
}

export interface ScrubState {
  format: number
  /** Under way; `afterPath` is the last that was read. */
  round: (ScrubRound & { afterPath: string }) | undefined
  /** The last that came to its end. */
  last: (ScrubRound & { endedAtMs: number; by: string }) | undefined
  /** When each writer last came to the end of a round. */
  turns: Record<string, number>
  findings: ScrubFinding[]
}

/** What is there; a new beginning where there is none, or none that this program knows. */
export async function readScrubState(root: string): Promise<ScrubState> {
  const none: ScrubState = { format: FORMAT, round: undefined, last: undefined, turns: {}, findings: [] }
  let text: string
  try {
    text = await readFile(join(root, FILE), 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return none
    throw error
  }
  try {
    const state = JSON.parse(text) as ScrubState
    return state.format === FORMAT && Array.isArray(state.findings) ? { ...none, ...state } : none
  } catch {
    return none // damaged: a round is lost, no more
  }
}

export async function writeScrubState(root: string, state: ScrubState): Promise<void> {
  await makeStoreDirectory(root, FOLDER)
  const temporary = join(root, `${FILE}.new`)
  await writeFile(temporary, `${JSON.stringify(state)}\n`)
  await rename(temporary, join(root, FILE))
}
