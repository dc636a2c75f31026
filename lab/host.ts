/**
 * A host of the lab: what systemd is on a machine. It runs in namespaces of its own; its parent, process 1 there, is a shell
 * that reaps what nobody waits for, and ends with it. Told over Node's channel what to do (order.ts).
 */
import { spawn } from 'node:child_process'
import { appendFileSync, mkdirSync } from 'node:fs'
import { networkInterfaces } from 'node:os'
import { Channel } from './channel.ts'
import { openControl, type Answer } from './control.ts'
import { furnish, install, RENDERED, SYSTEMCTL_SOCKET } from './furniture.ts'
import { LOG_FOLDER } from './launch.ts'
import { Mount } from './mount.ts'
import type { CommandEnd, HostOrders, HostReport, HostSetup } from './order.ts'
import { Service, signal } from './service.ts'
import { mountUnitOf, readUnit, type UnitFile } from './unit-file.ts'
import type { Unit } from './unit.ts'

const SYSTEMCTL_VERBS = new Set(['start', 'stop', 'restart', 'reload', 'enable', 'disable', 'daemon-reload'])
const OUTPUT_CHARACTERS_MAX = 4 * 1024 * 1024
const units = new Map<string, Unit>()
let setup: HostSetup

type Handlers = {
  [Order in keyof HostOrders]: (
    args: HostOrders[Order]['args']
  ) => HostOrders[Order]['value'] | Promise<HostOrders[Order]['value']>
}

const handlers: Handlers = {
  furnish: async args => {
    setup = args
    furnish(args)
    await openControl(SYSTEMCTL_SOCKET, systemctl)
    return undefined
  },
  link: async () => {
    const { address, prefix, device } = setup
    for (const words of [
      ['link', 'set', 'lo', 'up'],
      ['address', 'add', `${address}/${prefix}`, 'brd', '+', 'dev', device],
      ['link', 'set', device, 'up']
    ])
      await succeed(['ip', ...words])
    return undefined
  },
  start: async ({ unit, env }) => {
    await (await unitOf(unit)).start(env)
    return undefined
  },
  stop: async ({ unit }) => {
    await (await unitOf(unit)).stop()
    return undefined
  },
  reload: async ({ unit }) => {
    await (await unitOf(unit)).reload()
    return undefined
  },
  signal: async ({ unit, signal: name, matching }) => {
    const expression = new RegExp(matching ?? '')
    const found = (await unitOf(unit)).processes().filter(({ command }) => expression.test(command))
    signal(found, name)
    return found.length
  },
  run: ({ command, timeoutMs, stdin }) => run(command, timeoutMs, stdin),
  install: () => {
    install(RENDERED, setup.name, 'all')
    return undefined
  },
  report,
  shutDown: async () => {
    for (const unit of [...units.values()].reverse()) await unit.stop().catch(error => tell(String(error)))
    return undefined
  }
}

async function unitOf(name: string): Promise<Unit> {
  const known = units.get(name)
  if (known) return known
  await readUnit(name) // throws where there is none
  const read = (): Promise<UnitFile> => readUnit(name)
  const unit = name.endsWith('.mount') ? new Mount(name, read, tell) : new Service(name, read, bringUp, tell)
  units.set(name, unit)
  return unit
}

/** What a service wants and requires. systemd starts them with it; so do we, one after the other. */
async function bringUp(unit: UnitFile): Promise<void> {
  const named = (...keys: string[]): string[] =>
    keys.flatMap(key => unit.words(key)).filter(name => /\.(service|mount)$/.test(name))
  for (const name of named('Unit.Wants'))
    await unitOf(name)
      .then(wanted => wanted.start())
      .catch(() => {}) // without it
  for (const name of named('Unit.Requires', 'Unit.BindsTo')) await (await unitOf(name)).start()
  for (const path of unit.words('Unit.RequiresMountsFor')) {
    const parts = path.split('/').filter(Boolean)
    for (let count = 1; count <= parts.length; count++) {
      const name = mountUnitOf(parts.slice(0, count).join('/'))
      const found = await unitOf(name).catch(() => undefined) // most folders are no mount
      await found?.start()
    }
  }
}

/** What rendered scripts ask of systemctl. Which units start with the host is the plan's affair here. */
async function systemctl(words: readonly string[]): Promise<Answer> {
  const [verb, ...names] = words.filter(word => !word.startsWith('-'))
  if (!SYSTEMCTL_VERBS.has(verb ?? '')) throw new Error(`systemctl of the lab does not know ${verb}`)
  const isNow = words.includes('--now')
  for (const name of names.map(name => (/\.\w+$/.test(name) ? name : `${name}.service`))) {
    const unit = await unitOf(name)
    if (verb === 'stop' || verb === 'restart' || (verb === 'disable' && isNow)) await unit.stop()
    if (verb === 'start' || verb === 'restart' || (verb === 'enable' && isNow)) await unit.start()
    if (verb === 'reload') await unit.reload()
  }
  return { exitCode: 0, stdout: '', stderr: '' }
}

function report(): HostReport {
  return {
    units: [...units.values()].map(unit => ({
      name: unit.name,
      state: unit.state,
      detail: unit.detail,
      restarts: unit.restarts,
      mainPid: unit.mainPid,
      processes: unit.processes().map(({ pid, state, command }) => ({ pid, state, command }))
    })),
    addresses: (networkInterfaces()[setup.device] ?? [])
      .filter(({ family }) => family === 'IPv4')
      .map(({ address }) => address)
  }
}

async function succeed(command: readonly string[]): Promise<void> {
  const { exitCode, stderr } = await run(command, 10_000)
  if (exitCode !== 0) throw new Error(`${command.join(' ')}: ${stderr.trim()}`)
}

function run(command: readonly string[], timeoutMs: number, stdin = ''): Promise<CommandEnd> {
  const child = spawn(command[0]!, command.slice(1), {
    stdio: ['pipe', 'pipe', 'pipe'],
    cwd: RENDERED,
    detached: true,
    env: {
      PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      HOME: '/root',
      LANG: 'C.UTF-8'
    }
  })
  let stdout = ''
  let stderr = ''
  child.stdin.on('error', () => {}) // it need not read
  child.stdin.end(stdin)
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    if (stdout.length < OUTPUT_CHARACTERS_MAX) stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    if (stderr.length < OUTPUT_CHARACTERS_MAX) stderr += text
  })
  return new Promise((resolve, reject) => {
    const end = (exitCode: number | null): void => {
      clearTimeout(late)
      resolve({ exitCode, stdout, stderr })
    }
    const late = setTimeout(() => {
      stderr += `\n${command[0]} did not end within ${timeoutMs} ms`
      process.kill(-child.pid!, 'SIGKILL')
      end(null) // what it left may hold the pipes
    }, timeoutMs)
    child.once('error', error => {
      clearTimeout(late)
      reject(error)
    })
    child.once('close', end)
  })
}

function tell(text: string): void {
  mkdirSync(LOG_FOLDER, { recursive: true })
  appendFileSync(`${LOG_FOLDER}/host.log`, `${new Date().toISOString()} ${text}\n`)
}

process.on('disconnect', () => process.exit(1))
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => {}) // whoever owns the lab ends it
Channel.serve(process, (order, args) => {
  const handler = handlers[order as keyof HostOrders] as ((args: unknown) => unknown) | undefined
  if (!handler) throw new Error(`a host knows no order ${order}`)
  return handler(args)
})
