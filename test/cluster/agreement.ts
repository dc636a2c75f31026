/** What must hold of a cluster that stands still, whatever befell it. */
import { deepEqual } from 'node:assert/strict'
import { runFsck } from '@tributary/storage'
import type { RunningUp } from '../testkit/up.ts'

/** Index, disk and checksums agree, and no upload has left anything. @returns files in the store. */
export async function diskAgrees(up: RunningUp): Promise<number> {
  deepEqual(await up.temporaryFiles(), [])
  const report = await runFsck({ stores: [up.storeRoot], database: up.databaseUrl, checksums: true })
  deepEqual(report.findings, [])
  return report.stores[0]!.files
}
