/** A Debian of its own in a folder, as small as it comes, in which commands run without a network. Root only. */
import { execFile, spawn } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { missingPrograms } from '../testkit/service.ts'

const execute = promisify(execFile)
const BOOTSTRAP_MS_MAX = 150_000
const OUTPUT_BYTES_MAX = 16 * 1024 * 1024
/** Beyond the essential packages: what our package says it depends on, and nothing else. */
const PACKAGES = ['adduser', 'init-system-helpers', 'libgcc-s1', 'libstdc++6']

/** In a mount, network and process namespace of its own: all that it mounted or started ends with it. */
const NAMESPACES = [
  '--mount',
  '--net',
  '--pid',
  '--uts',
  '--fork',
  '--kill-child',
  '--propagation',
  'private'
]
const ENTER = `
set -e
ip link set lo up
mount --rbind /dev "$1/dev"
mount -t proc proc "$1/proc"
exec chroot "$1" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBIAN_FRONTEND=noninteractive /bin/sh -euc "$2"
`

export interface CommandEnd {
  exitCode: number | null
  out: string
  err: string
}

/** Why there can be none here, if so. @throws where nothing may be skipped. */
export function noDebianRoot(): string | undefined {
  const missing = missingPrograms(['debootstrap', 'dpkg-deb', 'unshare', 'ip', 'chroot'])
  if (missing !== undefined) return missing
  const reason = process.getuid?.() === 0 ? undefined : 'chroot needs root'
  if (reason !== undefined && (process.env['CI'] || process.env['TRIBUTARY_NO_SKIP'])) throw new Error(reason)
  return reason
}

export class DebianRoot {
  readonly folder: string

  private constructor(folder: string) {
    this.folder = folder
  }

  /** From the mirror and of the release that this machine's apt is set to. @throws it cannot be fetched. */
  static async make(folder: string): Promise<DebianRoot> {
    const { VERSION_CODENAME: suite = '' } = Object.fromEntries(
      [...(await readFile('/etc/os-release', 'utf8')).matchAll(/^(\w+)="?([^"\n]*)/gm)].map(
        ([, key, value]) => [key!, value!]
      )
    ) as Record<string, string>
    const targets = await execute('apt-get', [
      'indextargets',
      '--format',
      '$(SITE) $(CODENAME)',
      'Created-By: Packages'
    ])
    const mirror = targets.stdout
      .split('\n')
      .map(line => line.split(' '))
      .find(([, codename]) => codename === suite)?.[0]
    if (suite === '' || mirror === undefined) throw new Error('apt has no mirror of this release')
    const args = ['--variant=minbase', `--include=${PACKAGES.join(',')}`, suite, folder, mirror]
    await execute('debootstrap', args, { timeout: BOOTSTRAP_MS_MAX, maxBuffer: OUTPUT_BYTES_MAX })
    return new DebianRoot(folder)
  }

  /** Runs a script of the shell in it, as its root, without any network but its own loopback. */
  async run(script: string, timeoutMs = 60_000): Promise<CommandEnd> {
    const child = spawn('unshare', [...NAMESPACES, '/bin/sh', '-c', ENTER, 'enter', this.folder, script], {
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: timeoutMs,
      killSignal: 'SIGKILL'
    })
    let [out, err] = ['', '']
    child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text))
    child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text))
    return new Promise((resolve, reject) => {
      child.once('error', reject)
      child.once('close', exitCode => resolve({ exitCode, out, err }))
    })
  }
}
