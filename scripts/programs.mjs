// The programs that the tests drive, from Debian's packages. Nothing else in the repository needs root.
import { accessSync, constants, existsSync } from 'node:fs'
import { rm, writeFile } from 'node:fs/promises'
import { rmSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { runQuietly } from './child.mjs'
import { withInstallLock } from './install-lock.mjs'
import { withProgress } from './progress.mjs'

/** name: as in TRIBUTARY_SKIP. binaries: all must be there. package: Debian's, one or several. */
const PROGRAMS = [
  { name: 'mariadb', binaries: ['mariadbd', 'mariadb-install-db'], package: 'mariadb-server' },
  { name: 'redis', binaries: ['redis-server'], package: 'redis-server' },
  { name: 'redis-sentinel', binaries: ['redis-sentinel'], package: 'redis-sentinel' },
  { name: 'keepalived', binaries: ['keepalived'], package: 'keepalived' },
  { name: 'glusterfs', binaries: ['glusterd', 'gluster', 'glusterfs'], package: 'glusterfs-server' },
  { name: 'rsync', binaries: ['rsync'], package: 'rsync' },
  { name: 'ip', binaries: ['ip', 'tc'], package: 'iproute2' },
  { name: 'nft', binaries: ['nft'], package: 'nftables' },
  { name: 'ffmpeg', binaries: ['ffmpeg', 'ffprobe'], package: 'ffmpeg' },
  { name: 'mpv', binaries: ['mpv'], package: 'mpv' },
  // Its plugins are what plays; the rest of the package `vlc` is windows.
  { name: 'vlc', binaries: ['vlc'], package: 'vlc-bin vlc-plugin-base' },
  { name: 'chromium', binaries: ['chromium'], package: 'chromium' },
  { name: 'curl', binaries: ['curl'], package: 'curl' },
  { name: 'wget', binaries: ['wget'], package: 'wget' },
  { name: 'openssl', binaries: ['openssl'], package: 'openssl' },
  { name: 'bindfs', binaries: ['bindfs'], package: 'bindfs' },
  { name: 'ps', binaries: ['ps'], package: 'procps' },
  { name: 'debootstrap', binaries: ['debootstrap', 'dpkg-deb'], package: 'debootstrap' }
]

/** Servers live there, and a user's or cron's PATH often lacks them. */
export const SYSTEM_DIRS = ['/usr/local/sbin', '/usr/sbin', '/sbin', '/usr/local/bin', '/usr/bin', '/bin']

const POLICY = '/usr/sbin/policy-rc.d'
/** Another apt may be running (unattended upgrades); wait for it this long, in seconds. */
const DPKG_LOCK_S = 300

/**
 * Finds the programs the tests drive; as root on Debian, installs those that are missing.
 *
 * @returns {Promise<{ missing: string[], messages: string[] }>} `missing`: names as in TRIBUTARY_SKIP, `root` among them for
 *   what only root may do (mounts), `fuse` where there is no /dev/fuse; `messages`: sentences for the person who runs the tests
 */
export async function provideProgramsForTests() {
  const root = process.getuid?.() === 0
  const messages = []
  if (!root) messages.push('Not root: tests that mount file systems are skipped.')
  if (missingPrograms().length > 0) {
    if (root && existsSync('/usr/bin/apt-get')) await withInstallLock(() => installMissing(messages))
    else messages.push(whatToInstall(root))
  }
  const missing = missingPrograms().map(program => program.name)
  if (missing.length > 0) messages.push(`Missing, and so their tests are skipped: ${missing.join(', ')}.`)
  const fuse = existsSync('/dev/fuse')
  if (!fuse) messages.push('No FUSE (/dev/fuse): tests that mount volumes are skipped.')
  return { missing: [...missing, ...(root ? [] : ['root']), ...(fuse ? [] : ['fuse'])], messages }
}

function missingPrograms() {
  const dirs = [...(process.env.PATH ?? '').split(delimiter).filter(Boolean), ...SYSTEM_DIRS]
  const found = binary => dirs.some(dir => isExecutable(join(dir, binary)))
  return PROGRAMS.filter(program => !program.binaries.every(found))
}

function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

function whatToInstall(root) {
  const packages = missingPrograms().map(program => program.package)
  return root
    ? `This is no Debian; please install what is in ${packages.join(', ')} there.`
    : `To run every test: apt-get install --no-install-recommends ${packages.join(' ')} (or run this as root).`
}

async function installMissing(messages) {
  const packages = missingPrograms().flatMap(program => program.package.split(' '))
  if (packages.length === 0) return // the run we waited for has brought them
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', PATH: aptPath() }
  const options = ['-y', '-q', '-o', `DPkg::Lock::Timeout=${DPKG_LOCK_S}`]
  const aptGet = args => runQuietly('apt-get', [...options, ...args], { env })
  await withProgress(`Installing from Debian: ${packages.join(', ')}`, () =>
    withoutServicesStarting(async () => {
      for (let attempt = 1; attempt <= 2; attempt++) {
        const updated = await aptGet(['update'])
        const { exitCode, output } = await aptGet(['install', '--no-install-recommends', ...packages])
        if (exitCode === 0) return
        const lastLines = `${updated.exitCode === 0 ? '' : updated.output}\n${output}`
          .trim()
          .split('\n')
          .slice(-5)
        if (attempt === 2) throw new Error(`apt-get install failed:\n  ${lastLines.join('\n  ')}`)
      }
    })
  ).catch(error => messages.push(error.message)) // what is missing then, the caller finds out for itself
}

/** Debian starts a server when its package is installed, unless this file says no. The tests start their own. */
async function withoutServicesStarting(work) {
  if (existsSync(POLICY)) return work() // the machine's owner has a policy
  await writeFile(POLICY, '#!/bin/sh\nexit 101\n', { mode: 0o755 })
  const remove = () => rmSync(POLICY, { force: true })
  process.once('exit', remove)
  try {
    return await work()
  } finally {
    process.off('exit', remove)
    await rm(POLICY, { force: true })
  }
}

function aptPath() {
  return [...(process.env.PATH ?? '').split(delimiter).filter(Boolean), ...SYSTEM_DIRS].join(delimiter)
}
