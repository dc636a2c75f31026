/** What `up` notes in its data folder, so that other commands on this machine find it without being told. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

export const DATA_FOLDER_DEFAULT = 'data'
const NOTE_NAME = 'up.json'

export interface RunningCluster {
  pid: number
  trackers: string[]
  httpUrl: string
  application: string
}

export function noteRunningCluster(dataFolder: string, cluster: RunningCluster): void {
  writeFileSync(join(dataFolder, NOTE_NAME), `${JSON.stringify(cluster, undefined, 2)}\n`)
}

export function forgetRunningCluster(dataFolder: string): void {
  rmSync(join(dataFolder, NOTE_NAME), { force: true })
}

/** undefined where there is no note, or one of a cluster that is gone. */
export function findRunningCluster(
  dataFolder: string,
  isAlive: (pid: number) => boolean
): RunningCluster | undefined {
  try {
    const note = JSON.parse(readFileSync(join(dataFolder, NOTE_NAME), 'utf8')) as Partial<RunningCluster>
    const { pid, trackers, httpUrl, application } = note
    if (typeof pid !== 'number' || !isAlive(pid) || !Array.isArray(trackers)) return undefined
    if (typeof httpUrl !== 'string' || typeof application !== 'string') return undefined
    return { pid, trackers: trackers.map(String), httpUrl, application }
  } catch {
    return undefined // no note, or none of ours
  }
}
