/** Node, and the limits of the servers that run here. */
import { readdirSync, readFileSync } from 'node:fs'
import { Findings } from './finding.ts'
import type { Roles } from './configuration.ts'

const NODE_MAJOR_MIN = 24
/** Files that a data worker keeps open beside its connections, and what a process needs for itself. */
const OPEN_FILES_MAX = 4_096
const OWN_FILES = 100
const ADVICE = 'Set LimitNOFILE=65536 in its unit.'

export function checkMachine(roles: Roles, nodeVersion: string): Findings {
  const findings = new Findings('machine')
  if (Number.parseInt(nodeVersion, 10) >= NODE_MAJOR_MIN) findings.ok('Node', nodeVersion)
  else
    findings.problem(
      'Node',
      `version ${nodeVersion}`,
      `Use Node ${NODE_MAJOR_MIN} or later; the Debian package brings it.`
    )
  const running = runningServers()
  for (const { pid, role } of running) {
    const needed = filesNeeded(roles, role)
    const limit = openFilesLimit(String(pid))
    if (limit === undefined || needed === undefined) continue
    const subject = `open files of the ${role} (process ${pid})`
    if (limit >= needed) findings.ok(subject, `${limit} may be open, ${needed} are enough`)
    else
      findings.warning(
        subject,
        `${limit} may be open, fewer than the ${needed} that its settings allow`,
        ADVICE
      )
  }
  return findings
}

function filesNeeded({ tracker, id, storage, gateway }: Roles, role: string): number | undefined {
  if (role === 'storage' && storage) return storage.connectionsMax + OPEN_FILES_MAX + OWN_FILES
  const config = { tracker, id, gateway }[role]
  return config && config.connectionsMax + OWN_FILES
}

/** Soft limit of a process; undefined where the system does not say. */
function openFilesLimit(pid: string): number | undefined {
  try {
    const [, soft] =
      /^Max open files\s+(\d+|unlimited)/m.exec(readFileSync(`/proc/${pid}/limits`, 'utf8')) ?? []
    return soft === undefined ? undefined : soft === 'unlimited' ? Infinity : Number(soft)
  } catch {
    return undefined
  }
}

/** By their command lines; of other users too. */
function runningServers(): { pid: number; role: string }[] {
  const found: { pid: number; role: string }[] = []
  for (const name of readableFolder('/proc')) {
    if (!/^\d+$/.test(name)) continue
    let args: string[]
    try {
      args = readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0')
    } catch {
      continue // gone by now
    }
    const at = args.findIndex(arg => /\/(?:cli\/src\/main\.ts|(?:cli|tributary)\/dist\/main\.js)$/.test(arg))
    const role = at < 0 ? undefined : args[at + 1]
    if (role !== undefined && /^(?:tracker|id|storage|gateway)$/.test(role))
      found.push({ pid: Number(name), role })
  }
  return found
}

function readableFolder(path: string): string[] {
  try {
    return readdirSync(path)
  } catch {
    return []
  }
}
