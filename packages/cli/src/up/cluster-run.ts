/** A whole cluster on one machine: every role a process of its own, started and stopped in order. */
import { mkdir, open, readFile, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Client } from '@tributary/client'
import { migrateDatabase, openDatabase } from '@tributary/database'
import { ChildStartError, formatHostPort, ProcessSupervisor, type ChildEnd } from '@tributary/runtime'
import { initStore } from '@tributary/storage'
import { DATA_FOLDER_DEFAULT, forgetRunningCluster, noteRunningCluster } from '../running-cluster.ts'
import { sentenceOf, type Terminal } from '../terminal.ts'
import { programVersion } from '../version.ts'
import { tellChildLine } from './child-log.ts'
import { takeDataLock, type DataLock } from './data-lock.ts'
import { lanAddress, lanSentence } from './lan-address.ts'
import { claimPorts, type PortWish } from './listen-port.ts'
import { childrenOf, GROUP, type ChildPlan, type Ports, type UpPlan } from './up-plan.ts'

/** From the last process that is ready to the last storage server that the tracker hands out. */
const ACTIVE_WITHIN_MS = 20_000
const ASK_INTERVAL_MS = 50
/** A server whose parent is gone stops in order, within 10 s. */
const LEFTOVERS_END_WITHIN_MS = 12_000
const PORT_RETRY_MS = 100
const DATABASE_CONNECT_MS = 3_000
/** Of a child that ended without a sentence. */
const LAST_LINES_MAX = 12
const TOKEN_BYTES = 24

export class ClusterRun {
  readonly #plan: UpPlan
  readonly #terminal: Terminal
  readonly #children: ProcessSupervisor[] = []
  /** What each child wrote last to standard error while nothing was ready. */
  readonly #lastLines = new Map<string, string[]>()
  #lock: DataLock | undefined
  #stopping = false
  #ready = false

  constructor(plan: UpPlan, terminal: Terminal) {
    this.#plan = plan
    this.#terminal = terminal
  }

  /** @throws {Error} one sentence with its remedy; `stop` clears what was begun. */
  async start(signal: AbortSignal): Promise<void> {
    const plan = this.#plan
    await this.#prepareFolder()
    const ports = await this.#claimPorts()
    await this.#prepareDatabase()
    signal.throwIfAborted()
    const { first, storages, last } = childrenOf(plan, ports)
    await this.#startAll(first, signal)
    await this.#startAll(storages, signal)
    await this.#startAll(last, signal)
    const trackers = [formatHostPort({ host: plan.connectHost, port: ports.tracker })]
    await this.#untilActive(trackers, signal)
    this.#ready = true
    const httpUrl = `${schemeOf(plan)}://${formatHostPort({ host: urlHost(plan.httpHost), port: ports.http })}`
    noteRunningCluster(plan.dataFolder, {
      pid: this.#terminal.port.pid,
      trackers,
      httpUrl,
      application: plan.applications[0]!
    })
    this.#greet(httpUrl, ports, trackers)
  }

  /** Each reads its configuration again; in its log is what came of it. */
  reload(): void {
    for (const child of this.#children) child.reload()
  }

  /** worker → gateway → storage → ID server → tracker: nobody is asked for what has gone already. */
  async stop(deadline: AbortSignal): Promise<void> {
    this.#stopping = true
    if (this.#ready) this.#say('stopping …')
    const inOrder = [/^worker/, /^gateway/, /^storage/, /^id/, /^tracker/]
    for (const pattern of inOrder) {
      const group = this.#children.filter(({ name }) => pattern.test(name))
      await Promise.all(group.map(child => child.stop(deadline)))
    }
    if (this.#lock) {
      forgetRunningCluster(this.#plan.dataFolder)
      this.#lock.release()
    }
    if (this.#ready) this.#say(`stopped. Everything is kept in ${this.#plan.dataFolder}; see you.`)
  }

  async #prepareFolder(): Promise<void> {
    const { dataFolder } = this.#plan
    try {
      await makeFolder(dataFolder)
      const { pid } = this.#terminal.port
      this.#lock = takeDataLock(dataFolder, pid, this.#terminal.isAlive)
      await this.#prepareToken()
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === undefined) throw error
      const why = {
        EACCES: 'this user may not',
        EPERM: 'this user may not',
        EROFS: 'it is read-only',
        ENOSPC: 'no space is left',
        ENOENT: 'no folder can be made there',
        ENOTDIR: 'a file is in the way',
        EEXIST: 'a file is in the way'
      }[code]
      throw new Error(`${dataFolder} cannot be written (${why ?? code}): choose another folder with --data`, {
        cause: error
      })
    }
  }

  async #claimPorts(): Promise<Ports> {
    const { host, httpHost, ports, storages } = this.#plan
    const wishes: PortWish[] = [
      { name: 'tracker', host, port: ports.tracker, flag: '--tracker-port' },
      { name: 'ID server', host, port: ports.id, flag: '--id-port' },
      { name: 'HTTP server', host: httpHost, port: ports.http, flag: '--http-port' }
    ]
    for (let i = 0; i < storages; i++) {
      const port = ports.storage === 0 ? 0 : ports.storage + i
      wishes.push({ name: `storage server ${i + 1}`, host, port, flag: '--storage-port' })
    }
    const [tracker, id, http, ...members] = await this.#untilFree(wishes)
    return { tracker: tracker!, id: id!, http: http!, storages: members }
  }

  /** After a start that was killed, its servers end by themselves within a moment. */
  async #untilFree(wishes: readonly PortWish[]): Promise<number[]> {
    const untilMs = performance.now() + (this.#lock!.tookOver ? LEFTOVERS_END_WITHIN_MS : 0)
    for (;;) {
      try {
        return await claimPorts(wishes)
      } catch (error) {
        if (performance.now() >= untilMs || this.#stopping) throw error
        await new Promise(resolve => setTimeout(resolve, PORT_RETRY_MS))
      }
    }
  }

  async #prepareDatabase(): Promise<void> {
    const { databaseUrl, databaseName, applications, storeFolder } = this.#plan
    const options = { connectTimeoutMs: DATABASE_CONNECT_MS }
    try {
      await migrateDatabase(databaseUrl, options)
      const database = await openDatabase(databaseUrl, options)
      try {
        for (const application of applications) await database.routes.addApplication(application)
        await database.routes.addGroup(GROUP)
        await initStore(storeFolder, { cluster: await database.clusterId(), group: GROUP })
      } finally {
        await database.close()
      }
    } catch (error) {
      if ((error as { code?: unknown }).code !== 'DATABASE_UNAVAILABLE') throw error
      throw new Error(
        `the database ${databaseName} does not answer (${sentenceOf(error)}): start it, or check --database; without it a file in ${this.#plan.dataFolder} serves`,
        { cause: error }
      )
    }
  }

  async #startAll(children: readonly ChildPlan[], signal: AbortSignal): Promise<void> {
    const supervisors = children.map(child => this.#supervisor(child))
    this.#children.push(...supervisors)
    const settled = await Promise.allSettled(supervisors.map(supervisor => supervisor.start(signal)))
    const failed = settled.find(result => result.status === 'rejected')
    if (failed) throw withLastWords(failed.reason, this.#lastLines)
  }

  #supervisor({ name, args, env }: ChildPlan): ProcessSupervisor {
    const { port } = this.#terminal
    const { TRIBUTARY_PARENT_PID: _parent, ...inherited } = port.env
    let diedMs = 0
    return new ProcessSupervisor({
      name,
      command: {
        module: fileURLToPath(
          new URL(import.meta.url.endsWith('.ts') ? '../main.ts' : '../main.js', import.meta.url)
        ),
        args,
        env: { ...inherited, ...env },
        execArgv: port.execArgv
      },
      onLine: (stream, line) => {
        if (!this.#ready && stream === 'stderr') this.#keepLine(name, line)
        // A start that fails is told in one sentence, by us; that servers miss each other while they stop is no news.
        if (!this.#plan.verbose && (!this.#ready || this.#stopping)) return
        tellChildLine(name, line, {
          verbose: this.#plan.verbose,
          colour: this.#terminal.stderrIsTty,
          write: text => port.writeError(text)
        })
      },
      onCrash: (end: ChildEnd, restartInMs) => {
        diedMs = performance.now()
        if (!this.#stopping && restartInMs !== undefined)
          port.writeError(`${name} died (${end.reason}); it is started again\n`)
      },
      onReady: () => {
        if (diedMs > 0)
          port.writeError(`${name} is back after ${((performance.now() - diedMs) / 1000).toFixed(1)} s\n`)
      },
      onGivenUp: end =>
        port.writeError(
          `${name} died again and again (${end.reason}) and is given up: mend what is wrong, then stop and start 'tributary up'\n`
        )
    })
  }

  #keepLine(name: string, line: string): void {
    const lines = this.#lastLines.get(name) ?? []
    lines.push(line)
    if (lines.length > LAST_LINES_MAX) lines.shift()
    this.#lastLines.set(name, lines)
  }

  async #untilActive(trackers: string[], signal: AbortSignal): Promise<void> {
    const client = new Client({ trackers, version: programVersion() })
    const untilMs = performance.now() + ACTIVE_WITHIN_MS
    try {
      for (;;) {
        const { groups } = await client.groups({ signal })
        const members = groups.flatMap(group => group.members).filter(({ status }) => status === 'ACTIVE')
        if (members.filter(({ serving }) => serving).length >= this.#plan.storages) return
        if (performance.now() > untilMs) {
          const why = members.find(({ reason }) => reason)?.reason
          throw new Error(
            `the storage servers do not serve${why ? `: ${why}` : ''}; --verbose shows their logs`
          )
        }
        await new Promise(resolve => setTimeout(resolve, ASK_INTERVAL_MS))
      }
    } finally {
      client.close()
    }
  }

  #greet(httpUrl: string, ports: Ports, trackers: string[]): void {
    const { dataFolder, lan, httpHost, insecure } = this.#plan
    this.#say(`ready ${httpUrl}`)
    const lanIp = lanAddress()
    if (lan) {
      this.#say(`  phone and television:  ${lanSentence(lanIp, schemeOf(this.#plan), ports.http, insecure)}`)
      if (!insecure && httpHost === '0.0.0.0') this.#say(`  the token is in        ${this.#plan.tokenPath}`)
    }
    // In the folder above the data, the other commands find the cluster by themselves.
    const isFound = dataFolder === join(this.#terminal.folder, DATA_FOLDER_DEFAULT)
    const isUsual = trackers[0] === '127.0.0.1:21000' && httpUrl === 'http://127.0.0.1:8080'
    const options = isFound || isUsual ? '' : ` --trackers ${trackers[0]} --http-url ${httpUrl}`
    const command = import.meta.url.endsWith('.ts') ? 'npx tributary' : 'tributary' // in a clone, installed
    this.#say(`
  Try next:
    open ${httpUrl} in a browser, drop a film on the page and watch it
    ${command} upload film.mp4${options}   prints a link for VLC, mpv or a browser
    ${command} groups${options}            shows the servers

  This is one copy on one disk (${dataFolder}), not a backup. Ctrl-C stops it; nothing is lost.`)
  }

  /** Made at the first start that needs it; readable by its owner only. */
  async #prepareToken(): Promise<void> {
    const { tokenPath, insecure, httpHost, host } = this.#plan
    if (insecure || httpHost === host) return
    try {
      const file = await open(tokenPath, 'wx', 0o600)
      const token = Buffer.from(crypto.getRandomValues(new Uint8Array(TOKEN_BYTES))).toString('base64url')
      await file.writeFile(`${token}\n`)
      await file.close()
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
      if ((await readFile(tokenPath, 'utf8')).trim() === '')
        throw new Error(`${tokenPath} is empty: delete it`, { cause: error })
    }
  }

  #say(line: string): void {
    this.#terminal.port.writeOut(`${line}\n`)
  }
}

/**
 * Makes a folder and those above it. Node's own recursive mkdir never comes back where a file system refuses a new
 * folder with ENOENT, as /proc does.
 */
async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EEXIST' && (await stat(path)).isDirectory()) return
    const above = dirname(path)
    if (code !== 'ENOENT' || above === path) throw error
    if (await stat(above).catch(() => undefined)) throw error
    await makeFolder(above)
    await makeFolder(path)
  }
}

function schemeOf({ certificate }: UpPlan): 'http' | 'https' {
  return certificate ? 'https' : 'http'
}

function urlHost(host: string): string {
  return host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host
}

/** A child that could say why it does not start said it; one that broke before that left its last lines. */
function withLastWords(error: unknown, lastLines: ReadonlyMap<string, readonly string[]>): unknown {
  if (!(error instanceof ChildStartError) || !/^(?:ended with|killed by)/.test(error.end.reason)) return error
  for (const [name, lines] of lastLines) {
    if (!error.message.startsWith(`${name} `)) continue
    return new Error(`${error.message}; it wrote last:\n${lines.map(line => `  ${line}`).join('\n')}`, {
      cause: error
    })
  }
  return error
}
