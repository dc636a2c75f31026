/** A Debian of its own in a folder, as small as it comes, in which commands run without a network. Root only. */
import { execFile, spawn } from 'node:child_process'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { missingPrograms } from '../testkit/service.ts'

const execute = promisify(execFile)
const BOOTSTRAP_MS_MAX = 240_000
const MIRROR_WAIT_S = 10
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
const BOOTSTRAP_NAMESPACES = [
  '--mount',
  '--pid',
  '--mount-proc',
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
export async function noDebianRoot(): Promise<string | undefined> {
  const missing = missingPrograms(['debootstrap', 'dpkg-deb', 'unshare', 'ip', 'chroot', 'wget'])
  if (missing !== undefined) return missing
  const reason = process.getuid?.() === 0 ? await noMirror() : 'chroot needs root'
  if (reason !== undefined && (process.env['CI'] || process.env['TRIBUTARY_NO_SKIP'])) throw new Error(reason)
  return reason
}

async function noMirror(): Promise<string | undefined> {
  const { suite, mirror } = await ownRelease()
  if (mirror === undefined) return undefined // debootstrap knows one
  const args = [
    '-q',
    '--spider',
    '--tries=1',
    `--timeout=${MIRROR_WAIT_S}`,
    `${mirror}/dists/${suite}/Release`
  ]
  return execute('wget', args).then(
    () => undefined,
    () => `${mirror} cannot be reached`
  )
}

/** The release that this machine runs, and the mirror that its apt is set to; undefined: none that has an address of HTTP. */
async function ownRelease(): Promise<{ suite: string; mirror: string | undefined }> {
  const [, suite = ''] = /^VERSION_CODENAME="?([a-z]+)/m.exec(await readFile('/etc/os-release', 'utf8')) ?? []
  const { stdout } = await execute('apt-get', [
    'indextargets',
    '--format',
    '$(SITE) $(CODENAME)',
    'Created-By: Packages'
  ])
  const targets = stdout.split('\n').map(line => line.split(' '))
  const mirror = targets.find(([site = '', codename]) => codename === suite && /^https?:/.test(site))?.[0]
  return { suite, mirror }
}

export class DebianRoot {
  readonly folder: string

  private constructor(folder: string) {
    this.folder = folder
  }

  /** Of this machine's own release. @throws it cannot be fetched. */
  static async make(folder: string): Promise<DebianRoot> {
    const { suite, mirror } = await ownRelease()
    const where = mirror === undefined ? [] : [mirror]
    const args = ['--variant=minbase', `--include=${PACKAGES.join(',')}`, suite, folder, ...where]
    // What is thrown away again need not be synced, and that is most of the time that it takes.
    const settings = join(folder, 'etc', 'dpkg', 'dpkg.cfg.d')
    await mkdir(settings, { recursive: true })
    await writeFile(join(settings, 'unsafe-io'), 'force-unsafe-io\n')
    // What it mounts goes with its namespace, also where it has to be killed.
    await execute('unshare', [...BOOTSTRAP_NAMESPACES, 'debootstrap', ...args], {
      timeout: BOOTSTRAP_MS_MAX,
      killSignal: 'SIGKILL',
      maxBuffer: OUTPUT_BYTES_MAX
    })
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
