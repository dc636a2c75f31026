/** A Debian of its own in a folder, as small as it comes, in which commands run without a network. Root only. */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
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

/** With what systemd needs to be process 1 in a container: a tree of control groups of its own, devices, terminals. */
const BOOT_NAMESPACES = [...NAMESPACES, '--ipc']
const BOOT = `
set -e
ip link set lo up
mount --bind "$1" "$1"
mount -t tmpfs tmpfs "$1/mnt"
mkdir "$1/mnt/groups"
mount -t cgroup2 cgroup2 "$1/mnt/groups"
mkdir "$1/mnt/groups/$2"
echo $$ > "$1/mnt/groups/$2/cgroup.procs"
umount "$1/mnt/groups" "$1/mnt"
exec unshare --cgroup sh -euc '
mount -t proc proc "$1/proc"
mount -t sysfs sysfs "$1/sys"
mount -t cgroup2 cgroup2 "$1/sys/fs/cgroup"
mount -t tmpfs tmpfs "$1/run"
mount -t tmpfs tmpfs "$1/dev"
for name in null zero full random urandom tty; do touch "$1/dev/$name"; mount --bind "/dev/$name" "$1/dev/$name"; done
mkdir -p "$1/dev/pts" "$1/dev/shm" "$1/mnt/old"
mount -t devpts devpts "$1/dev/pts" -o newinstance,ptmxmode=0666
ln -s pts/ptmx "$1/dev/ptmx"
ln -s /proc/self/fd "$1/dev/fd"
cd "$1"
pivot_root . mnt/old
umount -l /mnt/old
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --show-status=no
' sh "$1"
`
/** After everything in it has ended. */
const REMOVE_GROUPS = `
groups=$(mktemp -d)
mount -t cgroup2 cgroup2 "$groups"
for _ in $(seq 100); do # the last processes take a moment to go
  find "$groups/$1" -depth -type d -exec rmdir {} + 2> /dev/null || true
  if ! [ -e "$groups/$1" ]; then break; fi
  sleep 0.1
done
gone=no
if ! [ -e "$groups/$1" ]; then gone=yes; fi
umount "$groups"
rmdir "$groups"
[ $gone = yes ]
`
const BOOT_MS_MAX = 60_000
const BOOT_POLL_MS = 200

/** systemd cannot be process 1 here: not every container lets it. */
export class BootError extends Error {}

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

  /** Of this machine's own release. @param more  packages beside those that ours depends on. @throws it cannot be fetched. */
  static async make(folder: string, more: readonly string[] = []): Promise<DebianRoot> {
    const { suite, mirror } = await ownRelease()
    const where = mirror === undefined ? [] : [mirror]
    const args = [
      '--variant=minbase',
      `--include=${[...PACKAGES, ...more].join(',')}`,
      suite,
      folder,
      ...where
    ]
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
  run(script: string, timeoutMs = 60_000): Promise<CommandEnd> {
    return runCommand(
      'unshare',
      [...NAMESPACES, '/bin/sh', '-c', ENTER, 'enter', this.folder, script],
      timeoutMs
    )
  }

  /** Starts it as a machine, with systemd as process 1. @throws {BootError} */
  async boot(): Promise<RunningDebian> {
    const group = `tributary-test-${process.pid}`
    const child = spawn('unshare', [...BOOT_NAMESPACES, '/bin/sh', '-c', BOOT, 'boot', this.folder, group], {
      stdio: ['ignore', 'ignore', 'pipe']
    })
    let err = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text))
    const ended = once(child, 'exit')
    const stop = async (): Promise<void> => {
      child.kill('SIGKILL')
      await ended
      await execute('unshare', [
        '--mount',
        '--propagation',
        'private',
        '/bin/sh',
        '-euc',
        REMOVE_GROUPS,
        'remove',
        group
      ])
    }
    const endMs = performance.now() + BOOT_MS_MAX
    for (;;) {
      const init = Number((await execute('pgrep', ['-P', String(child.pid)]).catch(() => undefined))?.stdout)
      if (init > 0) {
        const debian = new RunningDebian(init, stop)
        const state = (await debian.run('systemctl is-system-running')).out.trim()
        if (state === 'running' || state === 'degraded') return debian
      }
      if (performance.now() > endMs || child.exitCode !== null) {
        await stop()
        throw new BootError(`systemd does not come up here: ${err}`)
      }
      await sleep(BOOT_POLL_MS)
    }
  }
}

/** A Debian that runs as a machine does. */
export class RunningDebian {
  readonly #init: number
  /** Its power fails; nothing of it is left but its folder. */
  readonly stop: () => Promise<void>

  constructor(init: number, stop: () => Promise<void>) {
    this.#init = init
    this.stop = stop
  }

  /** Runs a script of the shell in it, as its root. */
  run(script: string, timeoutMs = 60_000): Promise<CommandEnd> {
    const namespaces = ['--mount', '--net', '--pid', '--uts', '--ipc', '--cgroup']
    const environment = [
      '/usr/bin/env',
      '-i',
      'PATH=/usr/sbin:/usr/bin:/sbin:/bin',
      'HOME=/root',
      'TERM=dumb'
    ]
    return runCommand(
      'nsenter',
      ['--target', String(this.#init), ...namespaces, ...environment, '/bin/sh', '-euc', script],
      timeoutMs
    )
  }
}

function runCommand(program: string, args: readonly string[], timeoutMs: number): Promise<CommandEnd> {
  const child = spawn(program, args, {
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
