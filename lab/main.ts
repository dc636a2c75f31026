/**
 * A whole cluster on this machine, each host with namespaces of its own. See docs/LAB.md.
 *
 *   npm run lab [-- --layout three|wide] [--description FILE] [--folder DIR] [--port N] [--keep]
 *   npm run lab -- status|stop|kill HOST|cut HOST|heal HOST|start HOST [UNIT]|freeze HOST UNIT|thaw HOST UNIT
 *                  |restart HOST UNIT|reload HOST UNIT|logs HOST [UNIT]|run HOST -- COMMAND …
 *                  |render FILE|install HOST|script HOST PATH
 */
import { createServer, type Server } from 'node:net'
import { basename, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { controlPath, giveOrder, isAnswering, openControl, runningLabs } from './control.ts'
import { Lab, LabError, ROOT, whyNoLab } from './lab.ts'
import { takeOrder, USAGE, ORDERS } from './orders.ts'

const LABS = join(ROOT, '.cache', 'lab')
const LAYOUTS = ['three', 'wide']
const HTTP_PORT = 8_080

const { values, positionals } = readArguments()

try {
  const [order] = positionals
  if (values.help) process.stdout.write(USAGE)
  else if (order === undefined) await runLab()
  else if (ORDERS.has(order)) process.exitCode = await orderElsewhere(positionals)
  else throw new LabError(`There is no order ${order}.\n${USAGE}`)
} catch (error) {
  if (!(error instanceof LabError)) throw error
  process.stderr.write(`${error.message.trimEnd()}\n`)
  process.exitCode = 1
}

function readArguments() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        layout: { type: 'string', default: 'three' },
        description: { type: 'string' },
        folder: { type: 'string' },
        port: { type: 'string' },
        keep: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false }
      }
    })
  } catch (error) {
    const [said] = (error as Error).message.split('. ') // what follows is about parseArgs
    process.stderr.write(`${said}.\n${USAGE}`)
    process.exit(1)
  }
}

async function orderElsewhere(words: readonly string[]): Promise<number> {
  const folder = values.folder === undefined ? await onlyRunning() : resolve(values.folder)
  const path = controlPath(folder, process.cwd())
  if (!(await isAnswering(path))) throw new LabError('No lab is running: start one with npm run lab.')
  const [order, ...rest] = words
  const said = order === 'render' ? [order, ...rest.map(file => resolve(file))] : words
  const { exitCode, stdout, stderr } = await giveOrder(path, said)
  process.stdout.write(stdout)
  process.stderr.write(stderr)
  return exitCode
}

async function onlyRunning(): Promise<string> {
  const [first, ...others] = await runningLabs(LABS, process.cwd())
  if (first === undefined) throw new LabError('No lab is running: start one with npm run lab.')
  if (others.length === 0) return first
  const names = [first, ...others].map(folder => basename(folder)).join(', ')
  throw new LabError(`Several labs are running (${names}): name one with --folder .cache/lab/NAME.`)
}

async function runLab(): Promise<void> {
  const reason = whyNoLab()
  if (reason !== undefined) throw new LabError(reason)
  if (!LAYOUTS.includes(values.layout))
    throw new LabError(`There is no layout ${values.layout}; there are: ${LAYOUTS.join(', ')}.`)
  const description =
    values.description === undefined
      ? join(ROOT, 'deploy', 'examples', `${values.layout}.toml`)
      : resolve(values.description)
  const name = values.description === undefined ? values.layout : basename(description).replace(/\W+/g, '-')
  const folder = values.folder === undefined ? join(LABS, name) : resolve(values.folder)
  const path = controlPath(folder, process.cwd())
  if (await isAnswering(path))
    throw new LabError(
      `A lab is running in ${folder} already: npm run lab -- status shows it, -- stop ends it.`
    )

  const startMs = performance.now()
  const say = (text: string): void => {
    const seconds = ((performance.now() - startMs) / 1_000).toFixed(1).padStart(6)
    process.stdout.write(`${seconds} s  ${text}\n`)
  }
  let isStopping = false
  let askToStop = (): void => {}
  const stopAsked = new Promise<void>(resolve => {
    askToStop = resolve
  })
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (isStopping) process.exit(130) // the kernel takes the lab with us
      isStopping = true
      askToStop()
    })
  }
  const lab = await Lab.lay({ description, folder, keep: values.keep, onProgress: say })
  const control = await openControl(path, words => takeOrder(lab, words, askToStop))
  let forwarder: Server | undefined
  try {
    const up = lab.startAll(say)
    const isUp = await Promise.race([up.then(() => true), stopAsked.then(() => false)])
    up.catch(() => {}) // it was told to stop meanwhile
    if (isUp) {
      const gateway = gatewayOf(lab)
      forwarder = gateway && (await openForwarder(lab, gateway))
      process.stdout.write(advice(lab, forwarder))
      await stopAsked
    }
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
    process.exitCode = 1
  } finally {
    isStopping = true
    process.stdout.write('stopping every host in order; Ctrl-C once more cuts them off\n')
    forwarder?.close()
    await lab.stop()
    control.close()
    process.stdout.write(values.keep ? `stopped; ${folder} is left\n` : 'stopped; nothing is left\n')
  }
  process.exit()
}

function gatewayOf(lab: Lab): { host: string; port: number } | undefined {
  if (lab.plan.virtualAddresses.some(({ name }) => name === 'gateway')) return lab.address('gateway')
  const [first] = lab.hostsWith('gateway')
  return first && { host: first.address, port: HTTP_PORT }
}

/** Accepts on this machine's loopback, and hands each connection over to the lab's side. */
async function openForwarder(lab: Lab, { host, port }: { host: string; port: number }): Promise<Server> {
  const server = createServer({ pauseOnConnect: true }, socket => {
    socket.on('error', () => {}) // it has gone already
    lab.forward(socket, host, port).catch(() => socket.destroy())
  })
  const listen = (at: number): Promise<boolean> =>
    new Promise(resolve => {
      server.once('error', () => resolve(false))
      server.listen({ host: '127.0.0.1', port: at }, () => resolve(true))
    })
  if (values.port !== undefined) {
    if (!(await listen(Number(values.port))))
      throw new LabError(`Port ${values.port} of this machine is taken.`)
  } else if (!(await listen(HTTP_PORT))) await listen(0)
  return server
}

function advice(lab: Lab, forwarder: Server | undefined): string {
  const at = forwarder?.address()
  const url = typeof at === 'object' && at !== null ? `http://127.0.0.1:${at.port}` : undefined
  const nameOf = (role: string): string => (lab.hostsWith(role)[0] ?? lab.hosts[0]!).name
  const [gateway, storage, database] = ['gateway', 'storage', 'database'].map(nameOf)
  const tracker = lab.hostsWith('tracker')[0]?.address ?? ''
  const tries: [order: string, what: string][] = [
    ['status', 'hosts, units, and who has which virtual address'],
    [`run ${storage} -- tributary groups -t ${tracker}`, 'members, as a tracker sees them'],
    [`cut ${gateway}`, `its network cable is pulled; heal ${gateway} puts it back`],
    [`kill ${storage}`, `its power fails; start ${storage} brings it back`],
    [`freeze ${database} mariadb`, `kill -STOP; thaw ${database} mariadb`],
    [`logs ${database} mariadb`, 'what a unit wrote']
  ]
  const width = Math.max(...tries.map(([order]) => order.length))
  return [
    '',
    ...(url === undefined ? [] : [`  ${url}   the gateway of the cluster, from this machine`]),
    ...tries.map(([order, what]) => `  npm run lab -- ${order.padEnd(width)}   ${what}`),
    '  Ctrl-C stops all of it',
    ''
  ].join('\n')
}
