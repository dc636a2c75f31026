/**
 * A whole cluster on one Linux machine, out of exactly what `tributary deploy render` writes: each host a set of namespaces
 * with an address, a name, users, mounts and processes of its own. See docs/LAB.md.
 */
import { execFile, fork, spawn, type ChildProcess } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chmod, copyFile, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { findingText, type Finding, type Rendered } from '@tributary/deploy'
import { Channel } from './channel.ts'
import { makeDisk } from './disk.ts'
import { RENDERED } from './furniture.ts'
import { makeHostFolder } from './host-folder.ts'
import { childrenOf, NAMESPACES, nodeProgram, TIED } from './namespace.ts'
import type { CommandEnd, HostOrders, HostReport, HostSetup } from './order.ts'
import { readPlan, type FirstStep, type Plan, type PlanHost } from './plan.ts'

const execute = promisify(execFile)
export const ROOT = fileURLToPath(new URL('../', import.meta.url))
/** Bits of the hosts' network, where no virtual address tells. */
const NETWORK_PREFIX = 24
const COMMAND_MS = 60_000
/** A step script builds volumes and forms clusters. */
const STEP_MS = 180_000
const READY_MS = 120_000
const POLL_MS = 200
/** Without it, nothing that is in a folder is removed. */
const MARKER = '.tributary-lab'
const LOG_LINES = 12
/** What galera_new_cluster sets. */
const NEW_CLUSTER = { _WSREP_NEW_CLUSTER: '--wsrep-new-cluster' }
const STOP_MS = 90_000
/** Ports of readiness, by role: docs/OPERATIONS.md; a storage server's further groups come after the first. */
const READY_PORTS: Readonly<Record<string, number>> = {
  tracker: 21_900,
  id: 22_900,
  storage: 23_900,
  gateway: 8_080
}

export interface LabOptions {
  /** A cluster.toml, which is rendered; or `rendered`. */
  readonly description?: string
  /** A folder that `tributary deploy render` wrote. */
  readonly rendered?: string
  /** On a real disk (bricks need extended attributes). Emptied first, and removed at the end. */
  readonly folder: string
  /** Takes a sentence for every step. */
  readonly onProgress?: (text: string) => void
  /** Leaves the folder, with the hosts' logs, when the lab stops. Default: no. */
  readonly keep?: boolean
  /** A disk of its own for the bricks of each host, so that it can be full. Default: none, they share the machine's. */
  readonly brickDiskBytes?: number
}

/** What `deploy render --json` says. Paths are from the rendering's folder; scripts run in their order, each on the host of its name. */
export type RenderReport = Omit<Rendered, 'plan'>

export interface HostStatus extends HostReport {
  readonly name: string
  readonly address: string
  /** cut: it runs, and its link is down. */
  readonly state: 'up' | 'cut' | 'down'
}

/** @throws {LabError} with the one sentence to show: not root, no FUSE, or no such program here */
export class LabError extends Error {}

/** A host of a running lab. Names of units are systemd's, such as `tributary-tracker.service`; without an ending: a service. */
export class LabHost {
  readonly name: string
  readonly address: string
  /** The host's link at the bridge, in the client's namespace: for `tc`. The host's own end is called as the plan says, mostly eth0. */
  readonly port: string
  readonly #ground: Channel
  readonly #setup: Omit<HostSetup, 'isNew'>
  #plan: PlanHost
  #isNew = true
  #isCut = false
  #isUp = false

  /** By `Lab` only. */
  constructor(plan: PlanHost, port: string, ground: Channel, setup: Omit<HostSetup, 'isNew'>) {
    this.name = plan.name
    this.address = plan.address
    this.port = port
    this.#plan = plan
    this.#ground = ground
    this.#setup = setup
  }

  get isUp(): boolean {
    return this.#isUp
  }

  get isCut(): boolean {
    return this.#isCut
  }

  /** Private etc, var and srv of the host, as seen from outside; what is mounted within is not. */
  get folder(): string {
    return this.#setup.folder
  }

  /** What the plan of the last rendering gives it to do: nothing, where that no longer has it. */
  get roles(): readonly string[] {
    return this.#plan.roles
  }

  /** The units the host starts when it comes up, in order. */
  get units(): readonly string[] {
    return this.#plan.units
  }

  /**
   * By `Lab` only: what a later rendering gives it to do; undefined: nothing. Nothing is put in place, started or stopped.
   */
  follow(plan: PlanHost | undefined): void {
    this.#plan = plan ?? { ...this.#plan, roles: [], units: [] }
  }

  /** Power on, without any unit: its namespaces, folders and link. The first time its rendered files are put in place. */
  async boot(): Promise<void> {
    await this.#ground.call('host', { setup: { ...this.#setup, isNew: this.#isNew }, port: this.port })
    this.#isNew = false
    this.#isCut = false
    this.#isUp = true
  }

  /**
   * Power on, and every unit of the plan. A unit that fails is told of at the end; the others are started all the same. One that
   * starts again by itself (Restart=) has not failed: a database node that finds no other yet ends, and tries again.
   */
  async start(): Promise<void> {
    await this.boot()
    const failures = new Map<string, string>()
    for (const unit of this.units) {
      await this.startUnit(unit).catch((error: unknown) =>
        failures.set(unitName(unit), error instanceof Error ? error.message : '')
      )
    }
    if (failures.size === 0) return
    const { units } = await this.status()
    for (const { name, state } of units) if (state !== 'failed') failures.delete(name)
    if (failures.size > 0) throw new Error(`host ${this.name}: ${[...failures.values()].join('; ')}`)
  }

  /** Power off: every process of it is gone at once, nothing is synced, its mounts and its link with it. */
  async kill(): Promise<void> {
    this.#isUp = false
    await this.#ground.call('kill', { host: this.name, port: this.port })
  }

  /** Every unit in order, last first; then power off. */
  async shutDown(): Promise<void> {
    if (!this.#isUp) return
    await this.#order('shutDown', {}).catch(() => {}) // then without
    await this.kill()
  }

  /** Pulls the network cable: the host runs on, and sees no carrier. */
  async cut(): Promise<void> {
    await this.#ground.call('link', { port: this.port, up: false })
    this.#isCut = true
  }

  async heal(): Promise<void> {
    await this.#ground.call('link', { port: this.port, up: true })
    this.#isCut = false
  }

  /** @param env variables for this start alone. @throws it does not start, or there is no such unit */
  async startUnit(unit: string, env: Record<string, string> = {}): Promise<void> {
    await this.#order('start', { unit: unitName(unit), env })
  }

  async stopUnit(unit: string): Promise<void> {
    await this.#order('stop', { unit: unitName(unit) })
  }

  async restartUnit(unit: string): Promise<void> {
    await this.stopUnit(unit)
    await this.startUnit(unit)
  }

  /** What `systemctl reload` does: mostly SIGHUP. */
  async reloadUnit(unit: string): Promise<void> {
    await this.#order('reload', { unit: unitName(unit) })
  }

  /** The first database node of a new cluster, or of one that has stopped as a whole. */
  bootstrapUnit(unit: string): Promise<void> {
    return this.startUnit(unit, NEW_CLUSTER)
  }

  /**
   * Signals a unit's processes, all of those that a control group would hold.
   *
   * @param matching a regular expression for their command lines, such as `glusterfsd` for bricks alone
   * @returns how many
   */
  signal(unit: string, signal: NodeJS.Signals, matching = ''): Promise<number> {
    return this.#order('signal', { unit: unitName(unit), signal, matching })
  }

  /** kill -9; systemd's part (Restart=) then follows as the unit says. */
  killUnit(unit: string, matching = ''): Promise<number> {
    return this.signal(unit, 'SIGKILL', matching)
  }

  freeze(unit: string, matching = ''): Promise<number> {
    return this.signal(unit, 'SIGSTOP', matching)
  }

  thaw(unit: string, matching = ''): Promise<number> {
    return this.signal(unit, 'SIGCONT', matching)
  }

  /**
   * A command as root on the host.
   *
   * @param command words; or a text for bash
   * @param timeoutMs after it the command is killed, and `exitCode` is null
   */
  run(
    command: string | readonly string[],
    { timeoutMs = COMMAND_MS, stdin = '' }: { timeoutMs?: number; stdin?: string } = {}
  ): Promise<CommandEnd> {
    const words = typeof command === 'string' ? ['bash', '--norc', '-c', command] : command
    return this.#order('run', { command: words, timeoutMs, stdin })
  }

  /**
   * What README.md of the rendering says under "Files of a host": puts them in place and runs 05-prepare. A host that has no
   * power yet gets it.
   */
  async install(): Promise<void> {
    if (this.#isUp) await this.#order('install', {})
    else await this.boot()
    await this.runScript(`steps/05-prepare.${this.name}.sh`)
  }

  /**
   * Runs a script of the rendering as root.
   *
   * @param path from the rendering's folder: `steps/…`, `changes/…`
   * @returns what it wrote. @throws it failed; the message has the end of what it wrote
   */
  async runScript(path: string): Promise<string> {
    const { exitCode, stdout, stderr } = await this.run(['bash', join(RENDERED, path)], {
      timeoutMs: STEP_MS
    })
    if (exitCode !== 0)
      throw new Error(
        `${path} on ${this.name} ended with ${exitCode}:\n${`${stdout}${stderr}`.trim().slice(-2_000)}`
      )
    return stdout
  }

  async status(): Promise<HostStatus> {
    const { name, address } = this
    if (!this.#isUp) return { name, address, state: 'down', units: [], addresses: [] }
    return { name, address, state: this.#isCut ? 'cut' : 'up', ...(await this.#order('report', {})) }
  }

  /** What a unit wrote; without one, what the host's supervisor did. */
  async logs(unit = 'host'): Promise<string> {
    const name = unit === 'host' ? 'host' : unitName(unit)
    return readFile(join(this.folder, 'var', 'log', 'units', `${name}.log`), 'utf8').catch(() => '')
  }

  #order<Order extends keyof HostOrders>(
    order: Order,
    args: HostOrders[Order]['args']
  ): Promise<HostOrders[Order]['value']> {
    return this.#ground.call('order', { host: this.name, order, args }) as Promise<HostOrders[Order]['value']>
  }
}

/** A running lab. When this process ends, however it ends, all of the lab but its folder is gone. */
export class Lab {
  readonly folder: string
  /** What was rendered, or given. */
  readonly rendered: string
  readonly #ground: Channel
  readonly #process: ChildProcess
  readonly #options: LabOptions
  readonly #hosts: LabHost[] = []
  #plan: Plan
  #stopped: Promise<void> | undefined

  private constructor(
    options: LabOptions,
    rendered: string,
    plan: Plan,
    ground: Channel,
    process: ChildProcess
  ) {
    this.folder = options.folder
    this.rendered = rendered
    this.#plan = plan
    this.#ground = ground
    this.#process = process
    this.#options = options
    for (const host of plan.hosts) this.#add(host)
  }

  /** Of the last rendering. */
  get plan(): Plan {
    return this.#plan
  }

  /** In the order of their coming; one that a later rendering no longer has stays, with nothing to do. */
  get hosts(): readonly LabHost[] {
    return this.#hosts
  }

  #add(host: PlanHost): void {
    const { folder, brickDiskBytes } = this.#options
    const setup = {
      name: host.name,
      address: host.address,
      prefix: prefixOf(this.#plan),
      device: host.device,
      folder: join(folder, 'hosts', host.name),
      rendered: this.rendered,
      source: ROOT,
      node: globalThis.process.execPath,
      compileCache: join(folder, 'compile'),
      brickDisk: brickDiskBytes === undefined ? undefined : diskOf(folder, host.name)
    }
    this.#hosts.push(new LabHost(host, `host${this.#hosts.length}`, this.#ground, setup))
  }

  /**
   * Builds the cluster and resolves when all of it is ready; on failure nothing is left running.
   *
   * @throws {LabError} it cannot be here
   */
  static async up(options: LabOptions): Promise<Lab> {
    const lab = await Lab.lay(options)
    try {
      await lab.startAll(options.onProgress)
      return lab
    } catch (error) {
      await lab.#end()
      throw error
    }
  }

  /** The ground and the hosts' folders alone: no host is up yet. */
  static async lay(options: LabOptions): Promise<Lab> {
    await demandMachine()
    const { folder, onProgress = () => {} } = options
    await takeFolder(folder)
    let rendered: string
    let plan: Plan
    try {
      rendered = options.rendered ?? join(folder, 'rendered')
      if (options.rendered === undefined) await render(options.description!, folder, rendered)
      plan = await readPlan(rendered)
      onProgress(`${plan.cluster}: ${plan.hosts.length} hosts`)
      for (const { name } of plan.hosts) await makeMachine(options, name, plan)
    } catch (error) {
      await removeFolder(folder)
      throw error
    }
    const module = new URL('./ground.ts', import.meta.url)
    const child = spawn(
      TIED[0]!,
      [...TIED.slice(1), 'unshare', ...NAMESPACES, ...nodeProgram(process.execPath, module)],
      { stdio: ['ignore', 'inherit', 'inherit', 'ipc'], detached: true, env: environment(folder) }
    )
    const ground = new Channel(child, () => {
      throw new Error('the ground asks nothing')
    })
    const lab = new Lab(options, rendered, plan, ground, child)
    try {
      await ground.call('bridge', { address: lab.clientAddress, prefix: prefixOf(plan) })
      return lab
    } catch (error) {
      await lab.#end()
      throw error
    }
  }

  /** Where connections of commands and forked modules on the client's side come from: an end of the network. */
  get clientAddress(): string {
    const network = this.plan.hosts[0]!.address.split('.').slice(0, 3).join('.')
    return `${network}.254`
  }

  /** @throws there is no such host */
  host(name: string): LabHost {
    const found = this.hosts.find(host => host.name === name)
    if (found) return found
    throw new LabError(
      `There is no host ${name}; there are: ${this.hosts.map(({ name }) => name).join(', ')}.`
    )
  }

  hostsWith(role: string): LabHost[] {
    return this.hosts.filter(({ roles }) => roles.includes(role))
  }

  /** A virtual address of the plan, such as `gateway`. @throws there is none of that name */
  address(name: string): { host: string; port: number } {
    const found = this.plan.virtualAddresses.find(address => address.name === name)
    if (!found) throw new Error(`the plan has no virtual address ${name}`)
    return { host: found.address, port: found.port }
  }

  /** The name of the host that has this virtual address now; undefined: none says so. Asks every host that is up and not cut. */
  async ownerOf(name: string): Promise<string | undefined> {
    const { host } = this.address(name)
    const reachable = await Promise.all(this.hosts.filter(({ isCut }) => !isCut).map(host => host.status()))
    return reachable.find(({ addresses }) => addresses.includes(host))?.name
  }

  /**
   * Renders another description into the same folder, as an operator does after a change of cluster.toml. A host that is new in it is
   * a machine without power, with the distribution's packages on it; nothing of any other host is touched. What then is to be
   * done is in the answer, and in README.md there.
   *
   * @throws {LabError} what `deploy render` said
   */
  async renderAgain(description: string): Promise<RenderReport> {
    if (this.#options.description === undefined) throw new LabError('This lab was made of rendered files.')
    const report = await render(description, this.folder, this.rendered, this.#options.description)
    const plan = await readPlan(this.rendered)
    const known = new Map(this.#hosts.map(host => [host.name, host]))
    const moved = plan.hosts.find(({ name, address }) => (known.get(name)?.address ?? address) !== address)
    if (moved) throw new LabError(`Host ${moved.name} has another address now: a lab cannot move it.`)
    const added = plan.hosts.filter(({ name }) => !known.has(name))
    for (const { name } of added) await makeMachine(this.#options, name, plan)
    this.#plan = plan
    for (const host of this.#hosts) host.follow(plan.hosts.find(({ name }) => name === host.name))
    for (const host of added) this.#add(host)
    return report
  }

  /** Every host powered on, the plan's first start, and the wait until all is ready. */
  async startAll(onProgress: (text: string) => void = () => {}): Promise<void> {
    await Promise.all(this.hosts.map(host => host.boot()))
    for (const step of this.plan.firstStart) {
      const startMs = performance.now()
      await this.#take(step)
      onProgress(`${textOf(step)} (${((performance.now() - startMs) / 1_000).toFixed(1)} s)`)
    }
    const startMs = performance.now()
    await this.untilReady()
    onProgress(`everything is ready (${((performance.now() - startMs) / 1_000).toFixed(1)} s)`)
  }

  async #take(step: FirstStep): Promise<void> {
    if ('start' in step) {
      await Promise.all(step.hosts.map(name => this.#first(this.host(name), step.start, {})))
    } else if ('bootstrap' in step) {
      await this.#first(this.host(step.host), step.bootstrap, NEW_CLUSTER)
    } else {
      await this.host(step.host).runScript(step.run)
    }
  }

  /** What a unit wrote goes with the lab's folder: so the end of it goes with the failure. */
  async #first(host: LabHost, unit: string, env: Record<string, string>): Promise<void> {
    try {
      await host.startUnit(unit, env)
    } catch (error) {
      const tail = (await host.logs(unit)).trimEnd().split('\n').slice(-LOG_LINES).join('\n')
      throw new Error(`${host.name}: ${(error as Error).message}\n${tail}`.trimEnd(), { cause: error })
    }
  }

  /**
   * Resolves when every role of every host that is up says that it is ready, and every virtual address has a host.
   *
   * @throws something is not; the message says what
   */
  async untilReady(timeoutMs = READY_MS): Promise<void> {
    const endMs = performance.now() + timeoutMs
    for (;;) {
      const missing = await this.notReady()
      if (missing.length === 0) return
      if (performance.now() > endMs)
        throw new Error(`not ready after ${timeoutMs / 1_000} s: ${missing.join('; ')}`)
      await sleep(POLL_MS)
    }
  }

  /** What is not ready, each with its reason; empty: all is. */
  async notReady(): Promise<string[]> {
    const asked = this.hosts
      .filter(({ isUp }) => isUp)
      .flatMap(host =>
        Object.entries(READY_PORTS)
          .filter(([role]) => host.roles.includes(role))
          .map(async ([role, port]) => {
            const { stdout, exitCode } = await this.exec([
              'curl',
              '-sS',
              '-m',
              '2',
              `http://${host.address}:${port}/readyz`
            ])
            const isReady =
              exitCode === 0 && (JSON.parse(stdout || '{}') as { ready?: boolean }).ready === true
            return isReady ? [] : [`${role} of ${host.name}: ${exitCode === 0 ? stdout.trim() : 'no answer'}`]
          })
      )
    const owned = this.plan.virtualAddresses.map(async ({ name }) =>
      (await this.ownerOf(name)) === undefined ? [`no host has the address ${name}`] : []
    )
    return (await Promise.all([...asked, ...owned])).flat()
  }

  /** A command in the client's namespace, on the bridge: everything of the cluster can be reached from it. */
  async exec(
    command: string | readonly string[],
    { timeoutMs = COMMAND_MS }: { timeoutMs?: number } = {}
  ): Promise<CommandEnd> {
    const words = typeof command === 'string' ? ['bash', '--norc', '-c', command] : command
    const [program, ...args] = [...this.#within(), ...words]
    return new Promise(resolve => {
      const options = { timeout: timeoutMs, killSignal: 'SIGKILL', maxBuffer: 64 * 1024 * 1024 } as const
      execFile(program!, args, options, (error, stdout, stderr) => {
        const code = error?.code
        resolve({ exitCode: error ? (typeof code === 'number' ? code : null) : 0, stdout, stderr })
      })
    })
  }

  /**
   * A module of ours in the client's namespace, with Node's channel to this process: load, clients, browsers' drivers.
   *
   * @param module its file; TypeScript
   */
  fork(module: URL, args: readonly string[] = []): ChildProcess {
    const [program, ...words] = [...this.#within(), process.execPath]
    return fork(fileURLToPath(module), args, {
      execPath: program!,
      execArgv: [...words, '--conditions=tributary-source'],
      env: environment(this.folder)
    })
  }

  /** Any program in the client's namespace, with pipes. It ends with this process. */
  spawn(command: readonly string[]): ChildProcess {
    const [program, ...args] = [...this.#within(), ...command]
    return spawn(program!, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, NODE_TEST_CONTEXT: undefined }
    })
  }

  /** Joins a connection accepted on the machine (not read from yet) with the address within the lab. */
  async forward(socket: Socket, address: string, port: number): Promise<void> {
    await this.#ground.call('forward', { address, port }, socket)
  }

  /** In order: every host's units, last first, then the power. Then nothing of the lab is left, but for a kept folder. */
  stop(): Promise<void> {
    return (this.#stopped ??= this.#shutDown())
  }

  async #shutDown(): Promise<void> {
    const all = Promise.allSettled(this.hosts.map(host => host.shutDown()))
    await Promise.race([all, sleep(STOP_MS, undefined, { ref: false })])
    await this.#end()
  }

  async #end(): Promise<void> {
    const child = this.#process
    if (child.exitCode === null && child.signalCode === null) {
      const ended = new Promise(resolve => child.once('exit', resolve))
      child.kill('SIGKILL')
      await ended
    }
    if (this.#options.keep !== true) await removeFolder(this.folder)
  }

  #within(): string[] {
    const [init] = childrenOf(this.#process.pid!)
    return [...TIED, 'nsenter', `--net=/proc/${init}/ns/net`, '--']
  }
}

/** Makes it anew. @throws {LabError} it holds something, and no lab made it */
async function takeFolder(folder: string): Promise<void> {
  const names = await readdir(folder).catch((): string[] => [])
  if (names.length > 0 && !names.includes(MARKER))
    throw new LabError(`${folder} is not empty, and no lab made it: name another folder.`)
  await removeFolder(folder)
  await mkdir(join(folder, 'compile'), { recursive: true, mode: 0o755 })
  await writeFile(
    join(folder, MARKER),
    'A lab of Tributary keeps its hosts here, and empties this folder when it starts.\n'
  )
  await chmod(join(folder, 'compile'), 0o1777) // programs of several users share it
}

/** The kernel is a moment behind: what it unmounts may be busy yet. */
async function removeFolder(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: POLL_MS })
}

function environment(folder: string): NodeJS.ProcessEnv {
  // set if we were started from a test: a program of ours would then take itself for one
  return { ...process.env, NODE_TEST_CONTEXT: undefined, NODE_COMPILE_CACHE: join(folder, 'compile') }
}

const diskOf = (folder: string, host: string): string => join(folder, 'disks', `${host}.ext4`)

const prefixOf = (plan: Plan): number => plan.virtualAddresses[0]?.prefix ?? NETWORK_PREFIX

function unitName(name: string): string {
  return /\.(service|mount)$/.test(name) ? name : `${name}.service`
}

function textOf(step: FirstStep): string {
  if ('start' in step) return `${step.start} on ${step.hosts.join(', ')}`
  return 'bootstrap' in step
    ? `${step.bootstrap} on ${step.host}, the first of its cluster`
    : `${step.run} on ${step.host}`
}

/** A fresh machine's disks, for a host of that name. */
async function makeMachine({ folder, brickDiskBytes }: LabOptions, name: string, plan: Plan): Promise<void> {
  await makeHostFolder(join(folder, 'hosts', name), name, plan)
  if (brickDiskBytes !== undefined) await makeDisk(diskOf(folder, name), brickDiskBytes)
}

/**
 * Runs the command of this source tree on a copy, since passwords are made beside the description.
 *
 * @param first the description that the lab began with, whose copy and passwords the later ones take over
 * @throws {LabError} what it said
 */
async function render(
  description: string,
  folder: string,
  out: string,
  first = description
): Promise<RenderReport> {
  const main = join(ROOT, 'packages', 'cli', 'src', 'main.ts')
  const copy = join(folder, basename(first))
  const secrets = (path: string): string => path.replace(/\.toml$/, '.secrets.toml')
  try {
    await copyFile(description, copy)
    if (description === first && existsSync(secrets(description)))
      await copyFile(secrets(description), secrets(copy))
    const args = ['--conditions=tributary-source', main, 'deploy', 'render', copy, '--out', out, '--json']
    const { stdout } = await execute(process.execPath, args, {
      cwd: ROOT,
      env: { ...process.env, NODE_TEST_CONTEXT: undefined }
    })
    return JSON.parse(stdout) as RenderReport
  } catch (error) {
    const { stderr, stdout, message } = error as { stderr?: string; stdout?: string; message: string }
    const said = stdout ? findingsOf(stdout) : (stderr ?? message).trim()
    throw new LabError(`The description cannot be rendered.\n${said}`)
  }
}

function findingsOf(report: string): string {
  return (JSON.parse(report) as { findings: Finding[] }).findings.map(findingText).join('\n')
}

const PROGRAMS = [
  'unshare',
  'nsenter',
  'ip',
  'rsync',
  'perl',
  'curl',
  'glusterd',
  'keepalived',
  'mariadbd',
  'mount.glusterfs'
]
const PROGRAM_FOLDERS = ['/usr/sbin', '/usr/bin', '/sbin', '/bin', '/usr/local/sbin', '/usr/local/bin']

async function demandMachine(): Promise<void> {
  const reason = whyNoLab()
  if (reason !== undefined) throw new LabError(reason)
}

/** Why no lab can be here, in one sentence; undefined where it can. */
export function whyNoLab(): string | undefined {
  if (process.platform !== 'linux') return 'The lab needs Linux: its hosts are made of namespaces.'
  if (process.getuid?.() !== 0)
    return 'The lab needs root: it makes namespaces, mounts and links. Try it with sudo.'
  if (!existsSync('/dev/fuse')) return 'The lab needs FUSE, and there is no /dev/fuse here: modprobe fuse.'
  const missing = PROGRAMS.filter(name => !PROGRAM_FOLDERS.some(folder => existsSync(join(folder, name))))
  if (missing.length === 0) return undefined
  return `The lab needs programs that are not installed here: ${missing.join(', ')}. Debian: apt-get install --no-install-recommends glusterfs-server glusterfs-client keepalived mariadb-server galera-4 redis-server redis-sentinel rsync iproute2 util-linux fuse3 curl (with a policy-rc.d that starts none of them).`
}
