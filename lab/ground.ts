/**
 * The ground of a lab: process 1 of a process namespace that holds all of it, in a network namespace with the bridge. When it
 * goes, in whatever way, the kernel takes every process, mount and interface of the lab with it. It starts hosts, connects
 * them, and passes orders on.
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { createConnection, type Socket } from 'node:net'
import { promisify } from 'node:util'
import { Channel } from './channel.ts'
import { childrenOf, NAMESPACES, nodeProgram } from './namespace.ts'
import type { GroundOrders, HostSetup } from './order.ts'

const execute = promisify(execFile)
const BRIDGE = 'br0'

interface RunningHost {
  readonly process: ChildProcess
  readonly channel: Channel
  readonly ended: Promise<void>
}

const hosts = new Map<string, RunningHost>()

type Handlers = {
  [Order in keyof GroundOrders]: (args: GroundOrders[Order]['args'], socket?: Socket) => unknown
}

const handlers: Handlers = {
  bridge: async ({ address, prefix }) => {
    await ip('link', 'set', 'lo', 'up')
    await ip('link', 'add', BRIDGE, 'type', 'bridge', 'forward_delay', '0')
    await ip('address', 'add', `${address}/${prefix}`, 'dev', BRIDGE)
    await ip('link', 'set', BRIDGE, 'up')
  },
  host: ({ setup, port }) => startHost(setup, port),
  kill: async ({ host, port }) => {
    const found = hosts.get(host)
    if (!found) return
    found.process.kill('SIGKILL') // unshare takes process 1 with it, and that everything
    await found.ended
    await ip('link', 'delete', port).catch(() => {}) // the kernel, which takes its time, may have been faster
  },
  link: ({ port, up }) => ip('link', 'set', port, up ? 'up' : 'down'),
  forward: ({ address, port }, socket) => forward(socket!, address, port),
  order: ({ host, order, args }) => {
    const found = hosts.get(host)
    if (!found) throw new Error(`host ${host} is down`)
    return found.channel.call(order, args)
  }
}

async function startHost(setup: HostSetup, port: string): Promise<void> {
  if (hosts.has(setup.name)) throw new Error(`host ${setup.name} runs already`)
  const child = spawn(
    'unshare',
    [...NAMESPACES, ...nodeProgram(process.execPath, new URL('./host.ts', import.meta.url))],
    {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      detached: true,
      env: process.env
    }
  )
  const channel = new Channel(child, () => {
    throw new Error('a host asks nothing')
  })
  const ended = new Promise<void>(resolve => {
    child.once('error', () => resolve())
    child.once('exit', () => resolve())
  }).then(() => {
    hosts.delete(setup.name)
    channel.close(`host ${setup.name} is down`)
  })
  hosts.set(setup.name, { process: child, channel, ended })
  await channel.call('furnish', setup)
  const [init] = childrenOf(child.pid!)
  await ip('link', 'add', port, 'type', 'veth', 'peer', 'name', setup.device, 'netns', String(init))
  await ip('link', 'set', port, 'master', BRIDGE, 'up')
  await channel.call('link')
}

/** Joins a connection that was accepted outside with one inside. */
function forward(outer: Socket, address: string, port: number): void {
  const inner = createConnection({ host: address, port })
  const end = (): void => {
    outer.destroy()
    inner.destroy()
  }
  for (const socket of [outer, inner]) socket.on('error', end).on('close', end)
  outer.pipe(inner).pipe(outer)
}

async function ip(...words: string[]): Promise<void> {
  await execute('ip', words)
}

process.on('disconnect', () => process.exit(1))
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => {}) // the lab ends us, in its order
Channel.serve(process, (order, args, socket) => {
  const handler = handlers[order as keyof GroundOrders] as
    | ((args: unknown, socket?: Socket) => unknown)
    | undefined
  if (!handler) throw new Error(`the ground knows no order ${order}`)
  return handler(args, socket)
})
