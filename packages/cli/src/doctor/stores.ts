/** Store paths: whether they are there, whose they are, and what the servers' user may do in them. Nothing is written. */
import { stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { readAnyMarker, Volume, type StorageConfig } from '@tributary/storage'
import { bytesText } from '../quantity-text.ts'
import { sentenceOf } from '../terminal.ts'
import { may, type Account } from './account.ts'
import { Findings } from './finding.ts'

const DEADLINE_MS = 3_000
/** Below it a look at the space is worth its while. */
const LOW_SHARE = 0.05
const ALL_RIGHTS = 7

/** @param clusterId Of the database, where it is known. */
export async function checkStores(
  { stores, group, reserveBytes }: StorageConfig,
  account: Account,
  clusterId: string | undefined
): Promise<Findings> {
  const findings = new Findings('store')
  const places = new Map<number, string>()
  for (const root of stores) {
    try {
      const volume = await Volume.open(root, DEADLINE_MS)
      const marker = await volume.run('marker', () => readAnyMarker(root))
      if (marker.group !== group) {
        const advice = 'Correct `group` or `stores`: a server of another group refuses to start here.'
        findings.problem(root, `a store of ${marker.group}, and this server is of ${group}`, advice)
      } else if (clusterId !== undefined && marker.cluster !== clusterId) {
        const advice =
          "Point `database` to this store's cluster; where that index is lost, see fsck --rebuild-index."
        findings.problem(
          root,
          `a store of cluster ${marker.cluster}, and the database is of ${clusterId}`,
          advice
        )
      } else
        findings.ok(
          root,
          `store ${marker.store} of ${marker.group}, ${volume.local ? 'a local disk' : 'no local disk'}`
        )
      await checkRights(root, volume, account, findings)
      await checkSpace(root, volume, reserveBytes, findings)
      const { dev } = await volume.run('stat', () => stat(root))
      const other = places.get(dev)
      if (other !== undefined)
        findings.warning(
          root,
          `on the same file system as ${other}`,
          'One of them is enough: their free space is the same, and is counted twice.'
        )
      places.set(dev, root)
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === 'ENOENT' && (error as NodeJS.ErrnoException).path === root) {
        findings.problem(root, 'there is no such folder', 'Make it, or mount the volume that holds it.')
      } else if (code === 'ENOENT') {
        const advice = `Mount the volume; only where it shall become a new store, run tributary storage init ${root} --group ${group}.`
        findings.problem(
          root,
          'no store: it has no marker, as a mount point whose volume is not mounted',
          advice
        )
      } else
        findings.problem(
          root,
          sentenceOf(error),
          'Mend the volume or its mount; the servers take it up again by themselves.'
        )
    }
  }
  return findings
}

async function checkRights(
  root: string,
  volume: Volume,
  account: Account,
  findings: Findings
): Promise<void> {
  for (let folder = dirname(root); ; folder = dirname(folder)) {
    if (!may(account, await volume.run('stat', () => stat(folder)), 1)) {
      findings.problem(
        root,
        `${account.name} may not enter ${folder}`,
        `Run chmod a+x ${folder}, or give it to ${account.name}.`
      )
      return
    }
    if (folder === dirname(folder)) break
  }
  if (may(account, await volume.run('stat', () => stat(root)), ALL_RIGHTS)) {
    findings.ok(root, `${account.name} may read and write`)
  } else {
    const advice = `With the servers stopped, run chown -R ${account.name} ${root}.`
    findings.problem(root, `${account.name} may not read and write in it`, advice)
  }
}

async function checkSpace(
  root: string,
  volume: Volume,
  reserveBytes: number,
  findings: Findings
): Promise<void> {
  const { freeBytes, totalBytes } = await volume.space()
  const text = `${bytesText(freeBytes)} of ${bytesText(totalBytes)} free`
  if (freeBytes <= reserveBytes) {
    const advice = 'Add a store path or a group, or delete files; reading goes on meanwhile.'
    findings.problem(
      root,
      `${text}, below the reserve of ${bytesText(reserveBytes)}: nothing new is taken`,
      advice
    )
  } else if (freeBytes < totalBytes * LOW_SHARE)
    findings.warning(root, text, 'Add space before it is used up.')
  else findings.ok(root, text)
}
