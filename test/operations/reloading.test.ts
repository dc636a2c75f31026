/** SIGHUP: servers read their configuration again while they serve. */
import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { promisify } from 'node:util'
import { cleanUps } from '../testkit/clean-ups.ts'
import { freePort } from '../testkit/ports.ts'
import { startSmallCluster, type RoleServer } from '../testkit/role-processes.ts'
import { until } from '../testkit/tributary-process.ts'
import { RunningUp } from '../testkit/up.ts'

const TAKEN_WITHIN_MS = 10_000
const execute = promisify(execFile)

describe('SIGHUP', { timeout: 120_000 }, () => {
  const endings: (() => unknown)[] = []
  const afterwards = cleanUps({ after: callback => void endings.push(callback) })
  let folder: string
  let tokenFile: string
  let storage: RoleServer
  let gateway: RoleServer
  let adminPort: number

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tributary-reloading-'))
    afterwards(() => rm(folder, { recursive: true, force: true, maxRetries: 3 }))
    tokenFile = join(folder, 'token')
    await writeFile(tokenFile, 'first\n')
    adminPort = await freePort()
    const { tracker, members, start } = await startSmallCluster(folder, afterwards, ['storage'], () => ({
      workers: 2,
      admin_port: adminPort,
      log_level: 'error'
    }))
    storage = members[0]!
    gateway = await start('gateway', 'gateway', {
      trackers: [tracker.address],
      write_token_file: tokenFile
    })
  })
  after(async () => {
    for (const end of endings) await end()
  })

  const put = async (url: string, token: string): Promise<number> => {
    const headers = { Authorization: `Bearer ${token}` }
    const { status } = await fetch(`${url}/files/media/a/${token}`, { method: 'PUT', headers, body: token })
    return status
  }
  const edit = async (server: RoleServer, change: (text: string) => string): Promise<string> => {
    const file = join(folder, `${server.name}.toml`)
    const before = await readFile(file, 'utf8')
    await writeFile(file, change(before))
    return before
  }
  /** What it has logged since. */
  const reload = async (server: RoleServer, says: RegExp): Promise<string> => {
    const from = server.process.err.length
    server.process.send('SIGHUP')
    return until(`${server.name} has said ${says}`, TAKEN_WITHIN_MS, () => {
      const text = server.process.err.slice(from)
      return says.test(text) ? text : undefined
    })
  }

  it('gives the gateway another write token, from one request to the next', async () => {
    const url = `http://${gateway.address}`
    equal(await put(url, 'first'), 201)
    await writeFile(tokenFile, 'second\n')
    equal(await put(url, 'second'), 401)
    const said = await reload(gateway, /read again/)
    ok(!said.includes('second'), 'a secret never reaches a log')
    equal(await put(url, 'first'), 401)
    equal(await put(url, 'second'), 201)
  })

  it('keeps everything as it was where the file is broken, tells every problem, and takes it when it is mended', async () => {
    const url = `http://${gateway.address}`
    await writeFile(tokenFile, 'third\n')
    const right = await edit(gateway, text => `${text}log_level = "loud"\nupload_max_bytes = "much"\n`)
    const said = await reload(gateway, /upload_max_bytes[\s\S]*log_level|log_level[\s\S]*upload_max_bytes/)
    match(said, /all stays as it was/)
    equal(await put(url, 'third'), 401)
    await edit(gateway, () => 'this is = no = TOML')
    await reload(gateway, /a TOML file that can be read/)
    await edit(gateway, () => right)
    await reload(gateway, /read again/)
    equal(await put(url, 'third'), 201)
  })

  it('says which changes need a restart, and makes none of them', async () => {
    const right = await edit(gateway, text => text.replace(/^port = .*$/m, 'port = 1'))
    await reload(gateway, /changed, and needs a restart: port/)
    equal((await fetch(`http://${gateway.address}/healthz`)).status, 200)
    await edit(gateway, () => right)
  })

  it('reaches the workers of a storage server, also those that are started later', async () => {
    await edit(storage, text => text.replace('log_level = "error"', 'log_level = "info"'))
    const [main, first] = await storage.process.family()
    await reload(storage, /read again/)
    storage.process.kill(first!)
    await until('the worker is replaced', TAKEN_WITHIN_MS, async () => {
      const family = await storage.process.family()
      return family.length === 3 && !family.includes(first!)
    })
    equal(storage.process.pid, main)
    await until('both workers serve', TAKEN_WITHIN_MS, async () => {
      const metrics = await (await fetch(`http://127.0.0.1:${adminPort}/metrics`)).text()
      return !/worker_resident_bytes\{[^}]*\} 0$/m.test(metrics)
    })
    await storage.stop()
    const names = storage.process.err.matchAll(/"name":"(storage\.\d)","why":"[^"]*","msg":"stopping"/g)
    deepEqual(new Set([...names].map(([, name]) => name)), new Set(['storage.0', 'storage.1']))
    await storage.start()
  })

  it('is passed on by `up`', async t => {
    const cleanUp = cleanUps(t)
    const up = await RunningUp.start({ flags: ['--lan'] })
    cleanUp(() => up.close())
    const token = join(up.folder, 'data', 'write-token')
    equal(await put(up.httpUrl, (await readFile(token, 'utf8')).trim()), 201)
    await writeFile(token, 'another\n')
    process.kill(up.pid, 'SIGHUP')
    await until('the token counts', TAKEN_WITHIN_MS, async () => (await put(up.httpUrl, 'another')) === 201)
  })

  it('still stops a server whose terminal is closed', async () => {
    // `script` gives it a terminal, and takes it away when it ends.
    const file = join(folder, 'gateway2.toml')
    await writeFile(file, '[gateway]\nport = 0\n')
    const main = new URL('../../packages/cli/src/main.ts', import.meta.url).pathname
    const command = `${process.execPath} --conditions=tributary-source --no-warnings ${main} gateway --config ${file} & pid=$!; sleep 3; kill -HUP $pid; wait $pid; echo "ended with $?"`
    const { stdout } = await execute('script', ['-qec', command, '/dev/null'])
    match(stdout, /stopping/)
    match(stdout, /ended with 0/)
  })
})
