/** What is looked at when a cluster stands still again: index and disk, what uploads left behind, processes. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Lab, LabHost } from '../lab.ts'

const FSCK_MS = 600_000
/** Deletes and uploads that a fault has cut are finished by whoever finds them, within this. */
const SETTLE_MS = 90_000
const POLL_MS = 5_000
const SHOWN_MAX = 20
/** In a shell of the host, with the database's address as `fsck` wants it. */
const ENVIRONMENT = 'set -a; . /etc/tributary/database.env; set +a;'

interface FsckReport {
  readonly stores: readonly { readonly root: string; readonly files: number; readonly rows: number }[]
  readonly findings: readonly {
    readonly kind: string
    readonly path: string
    readonly file: string
    readonly detail: string
  }[]
}

export interface StoreCheck {
  readonly group: string
  readonly files: number
  readonly rows: number
  /** How long it took until index and disk agreed, or until that was given up. */
  readonly settledMs: number
  /** Sentences; none where all is well. */
  readonly broken: readonly string[]
}

/** Index and disk of every group, with every checksum; and that no upload has left anything. */
export async function checkStores(lab: Lab): Promise<StoreCheck[]> {
  const checks: StoreCheck[] = []
  for (const { name, members, store } of lab.plan.groups) {
    const host = lab.host(members[0]!)
    const startMs = performance.now()
    for (;;) {
      const { files, rows, broken } = await checkStore(host, store)
      const settledMs = performance.now() - startMs
      if (broken.length > 0 && settledMs < SETTLE_MS) {
        await sleep(POLL_MS)
        continue
      }
      checks.push({ group: name, files, rows, settledMs, broken: broken.map(text => `${name}: ${text}`) })
      break
    }
  }
  return checks
}

async function checkStore(
  host: LabHost,
  store: string
): Promise<{ files: number; rows: number; broken: string[] }> {
  const { exitCode, stdout, stderr } = await host.run(
    `${ENVIRONMENT} tributary fsck ${store} --checksums --json`,
    {
      timeoutMs: FSCK_MS
    }
  )
  let report: FsckReport
  try {
    report = JSON.parse(stdout) as FsckReport
  } catch {
    return { files: 0, rows: 0, broken: [`fsck ended with ${exitCode}: ${stderr.trim().slice(-500)}`] }
  }
  const findings = report.findings.map(({ kind, path, file, detail }) => `${kind} ${path} ${file}: ${detail}`)
  const left = await host.run(`cd ${store} && find .tmp -type f 2>/dev/null | head -${SHOWN_MAX}`)
  const leftovers = left.stdout
    .split('\n')
    .filter(Boolean)
    .map(path => `${path} was left by an upload`)
  const { files, rows } = report.stores[0]!
  return { files, rows, broken: [...findings, ...leftovers].slice(0, SHOWN_MAX) }
}
