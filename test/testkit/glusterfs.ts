/**
 * A replicated GlusterFS volume of this machine's own: glusterd and its bricks live in namespaces of their own (network,
 * mounts, processes), and go with them. Its mounts are visible to everybody. Root only.
 */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { missingPrograms, programPath, Service } from './service.ts'

const execute = promisify(execFile)
const PROGRAMS = ['glusterd', 'gluster', 'glusterfs', 'unshare', 'nsenter', 'ip', 'mount', 'umount']
/** In the volume's own network: it is on no interface of the machine. */
const ADDRESS = '10.99.7.1'
const COMMAND_MS = 60_000
const READY_MS = 30_000
const POLL_MS = 20

/** What makes caches honest and failures short; the same is recommended to operators (docs/OPERATIONS.md). */
export const HONEST_OPTIONS: Readonly<Record<string, string>> = {
  'network.ping-timeout': '5',
  'cluster.quorum-type': 'auto',
  'performance.open-behind': 'off',
  'performance.quick-read': 'off',
  'performance.nl-cache': 'off',
  'performance.stat-prefetch': 'off'
}
/** Of the mount, in seconds. */
export const HONEST_TIMEOUTS: Readonly<Record<string, string>> = {
  'attribute-timeout': '0',
  'entry-timeout': '0',
  'negative-timeout': '0'
}

/** Why GlusterFS cannot be tested here, if so. @throws where nothing may be skipped. */
export function noGlusterfs(): string | undefined {
  const missing = missingPrograms(PROGRAMS)
  if (missing !== undefined) return missing
  const reason =
    process.getuid?.() !== 0
      ? 'mounting needs root'
      : existsSync('/dev/fuse')
        ? undefined
        : 'there is no FUSE here'
  if (reason !== undefined && (process.env['CI'] || process.env['TRIBUTARY_NO_SKIP'])) throw new Error(reason)
  return reason
}

export interface TestVolumeOptions {
  /** Temporary, of the test. */
  folder: string
  /** Three whole copies, or two and a third that has names only. Default: three copies. */
  arbiter?: boolean
  /** Default HONEST_OPTIONS. */
  options?: Readonly<Record<string, string>>
}

export class TestVolume {
  readonly name = 'media'
  readonly #folder: string
  readonly #daemon: Service
  readonly #mounts: TestMount[] = []
  /** Of the daemon, as this machine counts: the first process of the namespaces. */
  #pid = 0

  /** Resolves when its bricks run. */
  static async start({
    folder,
    arbiter = false,
    options = HONEST_OPTIONS
  }: TestVolumeOptions): Promise<TestVolume> {
    const volume = new TestVolume(folder)
    try {
      await volume.#startDaemon()
      const bricks = [1, 2, 3].map(number => `${ADDRESS}:${join(folder, `brick${number}`)}`)
      const kind = arbiter ? ['replica', '2', 'arbiter', '1'] : ['replica', '3']
      await volume.gluster('volume', 'create', volume.name, ...kind, ...bricks, 'force')
      await volume.set(options)
      await volume.gluster('volume', 'start', volume.name)
      return volume
    } catch (error) {
      await volume.stop()
      throw error
    }
  }

  private constructor(folder: string) {
    this.#folder = folder
    const namespaces = ['--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc']
    // The shell stays, as the one who buries dead bricks: to glusterd a zombie runs. A /run of its own: the command for healing looks for the daemon's socket there and nowhere else.
    const script = `
      mount -t tmpfs tmpfs /run && ip link set lo up && ip addr add ${ADDRESS}/32 dev lo &&
      { "$0" --no-daemon --log-level=WARNING -f "$1" -p /run/glusterd.pid -l "$2" & wait $!; }`
    this.#daemon = new Service(
      [
        programPath('unshare')!,
        ...namespaces,
        '/bin/sh',
        '-c',
        script,
        programPath('glusterd')!,
        join(folder, 'glusterd.vol'),
        join(folder, 'glusterd.log')
      ],
      join(folder, 'daemon.out')
    )
  }

  async set(options: Readonly<Record<string, string>>): Promise<void> {
    for (const [key, value] of Object.entries(options)) {
      await this.gluster('volume', 'set', this.name, key, value)
    }
  }

  /** @returns what the `gluster` command printed. */
  async gluster(...args: string[]): Promise<string> {
    return this.#inside([programPath('gluster')!, '--mode=script', ...args])
  }

  /** Mounts it; `timeouts` are options of the FUSE mount, such as { 'attribute-timeout': '0' }. */
  async mount(
    point: string,
    timeouts: Readonly<Record<string, string>> = HONEST_TIMEOUTS
  ): Promise<TestMount> {
    const command = [
      programPath('nsenter')!,
      `--net=/proc/${this.#pid}/ns/net`,
      programPath('glusterfs')!,
      '--no-daemon',
      `--volfile-server=${ADDRESS}`,
      `--volfile-id=/${this.name}`,
      `--log-file=${point}.log`,
      '--log-level=WARNING',
      ...Object.entries(timeouts).map(([key, value]) => `--${key}=${value}`),
      point
    ]
    const mount = new TestMount(point, command)
    this.#mounts.push(mount)
    await mkdir(point, { recursive: true })
    await mount.start()
    return mount
  }

  /** `number` 1 to 3. Its process is there, and answers nothing. */
  async freezeBrick(number: number): Promise<void> {
    await this.#signalBrick(number, 'STOP')
  }

  async thawBrick(number: number): Promise<void> {
    await this.#signalBrick(number, 'CONT')
  }

  async killBrick(number: number): Promise<void> {
    await this.#signalBrick(number, 'KILL')
  }

  /** Starts what was killed. */
  async startBricks(): Promise<void> {
    await this.gluster('volume', 'start', this.name, 'force')
  }

  /** What `gluster volume heal … info summary --xml` says. */
  healSummary(): Promise<string> {
    return this.gluster('volume', 'heal', this.name, 'info', 'summary', '--xml')
  }

  /** Until every mount reaches that brick. */
  async untilConnected(number: number): Promise<void> {
    const endMs = performance.now() + READY_MS
    for (const { point } of this.#mounts) {
      const state = join(point, '.meta', 'graphs', 'active', `${this.name}-client-${number - 1}`, 'private')
      while (!(await readFile(state, 'utf8')).includes('connected = 1')) {
        if (performance.now() > endMs) throw new Error(`brick ${number} was not reached in time`)
        await sleep(POLL_MS)
      }
    }
  }

  /** As `gluster` calls it. */
  brickName(number: number): string {
    return `${ADDRESS}:${this.brickFolder(number)}`
  }

  brickFolder(number: number): string {
    return join(this.#folder, `brick${number}`)
  }

  async stop(): Promise<void> {
    for (const mount of this.#mounts) await mount.stop()
    await this.#daemon.stop()
    // Its namespaces end a moment after their first process.
    const endMs = performance.now() + READY_MS
    while (this.#pid !== 0 && existsSync(`/proc/${this.#pid}`) && performance.now() < endMs)
      await sleep(POLL_MS)
  }

  async #startDaemon(): Promise<void> {
    await mkdir(join(this.#folder, 'state'), { recursive: true })
    await writeFile(
      join(this.#folder, 'glusterd.vol'),
      `volume management
  type mgmt/glusterd
  option working-directory ${join(this.#folder, 'state')}
  option logging-directory ${join(this.#folder, 'state')}
  option run-directory /run/gluster
  option transport-type socket
  option transport.socket.listen-port 24007
  option transport.socket.bind-address ${ADDRESS}
  option ping-timeout 0
  option event-threads 1
end-volume
`
    )
    await this.#daemon.start()
    const endMs = performance.now() + READY_MS
    for (;;) {
      const children = await readFile(
        `/proc/${this.#daemon.pid}/task/${this.#daemon.pid}/children`,
        'utf8'
      ).catch(() => '')
      this.#pid = Number(children.trim().split(' ')[0] ?? 0)
      if (
        this.#pid !== 0 &&
        (await this.gluster('volume', 'list').then(
          () => true,
          () => false
        ))
      )
        return
      if (performance.now() > endMs) throw new Error('glusterd was not ready in time')
      await sleep(5 * POLL_MS)
    }
  }

  async #signalBrick(number: number, signal: string): Promise<void> {
    const name = this.brickFolder(number).slice(1).replaceAll('/', '-')
    const pidFile = `/run/gluster/vols/${this.name}/${ADDRESS}-${name}.pid`
    await this.#inside(['/bin/sh', '-c', `kill -${signal} "$(cat ${pidFile})"`])
  }

  async #inside(command: readonly string[]): Promise<string> {
    const enter = ['--target', String(this.#pid), '--net', '--mount', '--pid', ...command]
    const { stdout } = await execute(programPath('nsenter')!, enter, { timeout: COMMAND_MS })
    return stdout
  }
}

/** One client of the volume, and the folder where it shows it. */
export class TestMount {
  readonly point: string
  readonly #command: readonly string[]
  #client: Service | undefined

  constructor(point: string, command: readonly string[]) {
    this.point = point
    this.#command = command
  }

  /** Also again, after `kill` or `stop`. Resolves when the volume can be read there. */
  async start(): Promise<void> {
    const client = new Service(this.#command, `${this.point}.out`)
    await client.start()
    this.#client = client
    const beneath = (await stat(dirname(this.point))).dev
    const endMs = performance.now() + READY_MS
    while (((await stat(this.point).catch(() => undefined))?.dev ?? beneath) === beneath) {
      if (performance.now() > endMs || !client.isRunning)
        throw new Error('the volume was not mounted in time')
      await sleep(POLL_MS)
    }
  }

  /** Its process is there and does nothing: whoever touches the mount waits. */
  freeze(): Promise<void> {
    return this.#client!.freeze()
  }

  thaw(): void {
    this.#client!.kill('SIGCONT')
  }

  /** The process dies, the mount point stays, and says that its end is not connected. */
  async kill(): Promise<void> {
    await this.#client!.stop()
  }

  /** Unmounts, also what is in use. The client goes first: a mount that hangs would hold up who unmounts it. */
  async stop(): Promise<void> {
    await this.#client?.stop()
    const flags = ['--lazy', '--no-canonicalize', '--internal-only']
    await execute(programPath('umount')!, [...flags, this.point]).catch(() => {}) // not mounted any more
    await rm(`${this.point}.out`, { force: true })
  }
}
