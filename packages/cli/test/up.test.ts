import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, readFile, readdir, stat, writeFile } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { after, before, describe, it } from 'node:test'
import { Client } from '@tributary/client'
import { takeDataLock } from '../src/up/data-lock.ts'
import { lanAddress, lanSentence } from '../src/up/lan-address.ts'
import {
  FREE_PORTS,
  processesWith,
  runCommand,
  runProcess,
  spawnCommand,
  startUp,
  temporaryFolder,
  type Run,
  type RunningUp
} from './command-run.ts'

const KEY = { application: 'media', user: 'public', file: 'film' }
const BACK_WITHIN_MS = 8_000 // 3 s are promised; the machine that runs the tests may be busy

async function until<T>(what: () => Promise<T | undefined | false>, withinMs = BACK_WITHIN_MS): Promise<T> {
  for (const untilMs = performance.now() + withinMs; ;) {
    const found = await what()
    if (found) return found
    if (performance.now() > untilMs) throw new Error(`not within ${withinMs} ms: ${what}`)
    await new Promise(resolve => setTimeout(resolve, 50))
  }
}

describe('a cluster on one machine', { timeout: 150_000 }, () => {
  const cleanUps: (() => unknown)[] = []
  const t = { after: (callback: () => unknown) => void cleanUps.unshift(callback) }
  let up: RunningUp
  let client: Client
  const run = (args: readonly string[], input?: Buffer): Promise<Run> =>
    runCommand(args, up.folder, input ? { input } : {})

  before(async () => {
    up = await startUp(t, await temporaryFolder(t), ['--apps', 'media,radio'])
    client = new Client({ trackers: (await up.note()).trackers })
    t.after(() => client.close())
  })
  after(async () => {
    for (const cleanUp of cleanUps) await cleanUp()
  })

  it('says once that it is ready, where, and that it is no backup', async () => {
    const { httpUrl } = await up.note()
    equal(up.out().match(/^ready /gm)?.length, 1)
    match(up.out(), new RegExp(`^ready ${httpUrl}$`, 'm'))
    match(up.out(), /not a backup/)
    equal((await fetch(httpUrl)).status, 200)
    equal(up.err(), '', 'quiet unless something is wrong')
  })

  it('refuses a second one in the same folder, and leaves the first alone', async () => {
    const { code, err } = await runProcess(['up', ...FREE_PORTS], up.folder)
    equal(code, 1)
    match(err, /another 'tributary up'.*--data/)
    equal((await run(['groups'])).code, 0)
  })

  it('stores, lists, describes, gives back and deletes by command', async () => {
    const content = randomBytes(300_000)
    await writeFile(join(up.folder, 'clip one.bin'), content)
    await mkdir(join(up.folder, 'many', 'deep'), { recursive: true })
    for (const name of ['many/a.txt', 'many/deep/b.txt', 'many/empty']) {
      await writeFile(join(up.folder, name), name.endsWith('empty') ? '' : name)
    }
    const one = await run(['upload', 'clip one.bin', '--id', 'clip ä/1', '--json', '-u', 'anna'])
    equal(one.code, 0, one.err)
    const told = JSON.parse(one.out)
    equal(told.sizeBytes, 300_000)
    match(told.url, /\/files\/media\/anna\/clip%20%C3%A4%2F1$/)
    ok(Buffer.from(await (await fetch(told.url)).arrayBuffer()).equals(content), 'the link plays')
    equal((await run(['upload', 'clip one.bin', '--id', 'clip ä/1', '-u', 'anna'])).code, 4)

    const many = await run(['upload', '-r', 'many', 'nowhere', '-u', 'anna'])
    equal(many.code, 1, 'one of them does not exist')
    match(many.err, /nowhere does not exist/)
    equal(many.out.trim().split('\n').length, 3)

    const list = await run(['ls', '-u', 'anna', '--json'])
    deepEqual(
      list.out
        .trim()
        .split('\n')
        .map(line => JSON.parse(line).name)
        .toSorted((a: string, b: string) => (a < b ? -1 : 1)),
      ['a.txt', 'b.txt', 'clip one.bin', 'empty']
    )
    equal((await run(['ls', '-u', 'anna', '-n', '2'])).out.trim().split('\n').length, 2)
    equal((await run(['size', 'clip ä/1', '-u', 'anna'])).out, '300000\n')
    match((await run(['stat', 'clip ä/1', '-u', 'anna'])).out, /name {8}clip one\.bin/)

    await mkdir(join(up.folder, 'target'))
    equal((await run(['download', 'clip ä/1', 'target', '-u', 'anna'])).code, 0)
    deepEqual(await readdir(join(up.folder, 'target')), ['clip one.bin'])
    ok((await readFile(join(up.folder, 'target', 'clip one.bin'))).equals(content))
    equal((await run(['download', 'clip ä/1', 'target', '-u', 'anna'])).code, 4)

    equal((await run(['delete', 'clip ä/1', '-u', 'anna'])).code, 0)
    equal((await run(['delete', 'clip ä/1', '-u', 'anna'])).code, 3)
    equal((await run(['delete', '--force', 'clip ä/1', '-u', 'anna'])).code, 0)
    equal((await run(['stat', 'clip ä/1', '-u', 'anna'])).code, 3)
    equal((await run(['size', 'x', '--app', 'unknown'])).code, 3)
    equal((await run(['ls', '--app', 'radio'])).code, 0)
  })

  it('reads standard input and writes standard output, and nothing else there', async () => {
    for (const bytes of [0, 100, 3_000_000]) {
      const content = randomBytes(bytes)
      const stored = await runProcess(['upload', '-', '--id', `pipe${bytes}`], up.folder, { input: content })
      equal(stored.code, 0, stored.err)
      match(stored.out, /^http:\/\/\S+\n$/)
      ok((await runProcess(['download', `pipe${bytes}`, '-'], up.folder)).stdout.equals(content))
    }
    equal((await run(['download', 'pipe100', '-', '--range', '10-19'])).stdout.byteLength, 10)
    equal((await run(['download', 'pipe100', '-', '--range', '-7'])).stdout.byteLength, 7)
    equal((await run(['download', 'pipe100', '-', '--range', '100-'])).code, 2)
    equal((await run(['upload', '-', '--id', 'short', '--size', '5'], Buffer.from('abc'))).code, 1)
    equal((await run(['stat', 'short'])).code, 3, 'a broken upload leaves nothing')
  })

  it('ends an upload with 130 on Ctrl-C and leaves nothing', async () => {
    const child = spawnCommand(['upload', '-', '--id', 'broken'], up.folder)
    child.stdin!.on('error', () => {})
    child.stdin!.write(randomBytes(4_000_000))
    await until(async () => (await temporaryFiles(up.folder)).length > 0) // its content arrives
    child.kill('SIGINT')
    const [code] = (await once(child, 'exit')) as [number]
    equal(code, 130)
    equal((await run(['stat', 'broken'])).code, 3)
  })

  it('answers every method of the library', async () => {
    const content = randomBytes(2_000_000)
    const stored = await client.upload(content, { key: KEY, name: 'film.mp4', mediaType: 'video/mp4' })
    const found = await client.stat(KEY)
    equal(found.generation, stored.generation)
    equal(found.crc32, stored.crc32)
    equal(await client.size(KEY), content.byteLength)
    const { groups } = await client.groups()
    equal(groups[0]!.members.length, 2)
    match(await client.groupsText(), /group001/)
    const range = await client.fetch(KEY, { start: 1_999_990 })
    ok(range.outcome === 'content' && range.bytes!.equals(content.subarray(1_999_990)))
    equal((await client.fetch(KEY, { unlessGeneration: stored.generation })).outcome, 'not-modified')
    const stranger = new Client({ trackers: (await up.note()).trackers }) // knows nothing of the size yet
    const { stream, offset, lengthBytes } = await stranger.download(KEY, { start: 5, end: 1_500_000 })
    deepEqual([offset, lengthBytes], [5, 1_499_996])
    ok((await buffer(stream)).equals(content.subarray(5, 1_500_001)))
    ok((await buffer((await stranger.download(KEY)).stream)).equals(content))
    equal((await stranger.fetch(KEY, { start: 2_000_000 })).outcome, 'unsatisfiable')
    const head = await stranger.fetch(KEY, { factsOnly: true })
    ok(head.outcome === 'content' && head.whole && !head.bytes && head.lengthBytes === 2_000_000)
    stranger.close()
    await rejects(client.upload(content, { key: KEY }), { code: 'FILE_EXISTS' })
    await rejects(client.stat({ ...KEY, user: 'other' }), { code: 'FILE_NOT_FOUND' })
    await client.delete(KEY)
    await rejects(client.delete(KEY), { code: 'FILE_NOT_FOUND' })
  })

  it('gives a reader every byte though a storage server is killed in the middle', async () => {
    const content = randomBytes(48 * 1024 * 1024)
    await client.upload(content, { key: { ...KEY, file: 'long' } })
    for (const member of ['storage1', 'storage2']) {
      const fetched = await client.fetch({ ...KEY, file: 'long' })
      ok(fetched.outcome === 'content')
      const parts: Buffer[] = []
      let bytes = 0
      let killed = false
      await fetched.stream!((piece, release) => {
        parts.push(Buffer.from(piece))
        bytes += piece.byteLength
        if (!killed && bytes > 8 * 1024 * 1024) {
          killed = true
          void storageProcesses(up, member).then(pids => {
            for (const pid of pids) process.kill(pid, 'SIGKILL')
            setTimeout(release, 100)
          })
        } else release()
      })
      ok(Buffer.concat(parts).equals(content), member)
      // The tracker believes in a dead server for a while; up knows better.
      await until(async () => up.err().includes(`storage ${member.at(-1)} is back`))
    }
    match(up.err(), /storage 1 died \(killed by SIGKILL\); it is started again/)
  })

  it('stores whole or not at all though a storage server is killed in mid-upload', async () => {
    const content = randomBytes(64 * 1024 * 1024)
    const key = { ...KEY, file: 'big' }
    let killed = false
    const stored = await client.upload(content, {
      key,
      onProgress: ({ doneBytes }) => {
        if (killed || doneBytes < 8 * 1024 * 1024) return
        killed = true
        void storageProcesses(up, 'storage2').then(pids => pids.forEach(pid => process.kill(pid, 'SIGKILL')))
      }
    })
    equal(stored.sizeBytes, content.byteLength)
    const path = join(up.folder, 'big.bin')
    await client.downloadToFile(key, path)
    ok((await readFile(path)).equals(content))
    await until(async () => up.err().match(/storage 2 is back/g)?.length === 2)
  })

  it('starts the tracker, the ID server and the gateway again', async () => {
    const { httpUrl } = await up.note()
    for (const verb of ['tracker', 'id', 'gateway']) {
      for (const pid of await processesWith(`main.ts ${verb} `)) {
        if (await isChildOf(pid, up.child.pid!)) process.kill(pid, 'SIGKILL')
      }
      await until(async () => up.err().includes(`${verb} is back`))
    }
    await until(async () => (await activeMembers(client).catch(() => 0)) === 2)
    equal((await fetch(`${httpUrl}/files/media/public/pipe100`)).status, 200)
  })

  it('stops in order on one Ctrl-C, with a goodbye, and nothing is left running', async () => {
    const { trackers } = await up.note()
    const port = trackers[0]!.split(':')[1]!
    equal(await up.end('SIGINT'), 0)
    match(up.out(), /stopped\. Everything is kept/)
    deepEqual(await processesWith(`127.0.0.1:${port}`), [])
    deepEqual(
      (await readdir(join(up.folder, 'data'))).filter(name => /^up\./.test(name)),
      []
    )
  })

  it('has everything again at the next start, after a death without goodbye', async () => {
    // The same ports each time, on which the servers of a killed one may still be ending.
    const second = await startUp(t, up.folder, ['--storages', '1'])
    const { trackers, httpUrl } = await second.note()
    const ports = ['--tracker-port', trackers[0]!.split(':')[1]!, '--http-port', new URL(httpUrl).port]
    equal((await runCommand(['size', 'pipe3000000'], up.folder)).out, '3000000\n')
    second.child.kill('SIGKILL')
    await second.end()
    const third = await startUp(t, up.folder, ['--storages', '1', ...ports])
    equal((await runCommand(['size', 'pipe3000000'], up.folder)).out, '3000000\n')
    equal(await third.end('SIGTERM'), 0)
  })
})

describe('a start that cannot be', { timeout: 90_000 }, () => {
  it('names every port that is taken, and the flag', async t => {
    const folder = await temporaryFolder(t)
    const taken = createServer().listen(0, '127.0.0.1')
    t.after(() => taken.close())
    await once(taken, 'listening')
    const { port } = taken.address() as AddressInfo
    const { code, err } = await runProcess(
      ['up', ...FREE_PORTS, '--tracker-port', `${port}`, '--http-port', `${port}`],
      folder
    )
    equal(code, 1)
    match(
      err,
      new RegExp(`^tributary: .*127\\.0\\.0\\.1:${port} \\(tracker\\) is taken.*--tracker-port.*--http-port`)
    )
    equal(err.trim().split('\n').length, 1)
    deepEqual(await processesWith(folder), [])
  })

  it('names a folder that cannot be written', async t => {
    const folder = await temporaryFolder(t)
    await writeFile(join(folder, 'data'), 'a file')
    const { code, err } = await runProcess(['up', ...FREE_PORTS], folder)
    equal(code, 1)
    match(err, /cannot be written.*--data/)
  })

  it('names a folder that no folder can be made in', async t => {
    // Where there is no such place, ENOTDIR or EACCES tells the same.
    const { code, err } = await runProcess(
      ['up', ...FREE_PORTS, '--data', '/proc/nowhere/data'],
      await temporaryFolder(t)
    )
    equal(code, 1)
    match(err, /\/proc\/nowhere\/data cannot be written.*--data/)
  })

  it('names a database that does not answer, without its password', async t => {
    const folder = await temporaryFolder(t)
    const url = 'mysql://user:secret@127.0.0.1:1/tributary'
    const { code, err } = await runProcess(['up', ...FREE_PORTS, '--database', url], folder)
    equal(code, 1)
    match(err, /database mysql:\/\/127\.0\.0\.1:1\/tributary does not answer.*--database/)
    ok(!err.includes('secret'))
    equal(err.trim().split('\n').length, 1)
  })

  it('names a store of another cluster', async t => {
    const folder = await temporaryFolder(t)
    const first = await startUp(t, folder, ['--storages', '1'])
    await first.end()
    const other = await runProcess(['up', ...FREE_PORTS, '--database', 'sqlite:other.db'], folder)
    equal(other.code, 1)
    match(other.err, /cluster .* fsck --rebuild-index/)
  })
})

describe('the lock of a data folder', () => {
  it('is one living process’s, is taken over from a dead one, and is given back', async t => {
    const folder = await temporaryFolder(t)
    const lock = takeDataLock(folder, process.pid, () => true)
    const refused = (): void => void takeDataLock(folder, process.ppid, () => true)
    let failure: unknown
    try {
      refused()
    } catch (error) {
      failure = error
    }
    match(String(failure), /another 'tributary up'/)
    takeDataLock(folder, process.ppid, () => false).release()
    await rejects(stat(join(folder, 'up.lock')), { code: 'ENOENT' })
    lock.release()
    await writeFile(join(folder, 'up.lock'), '{"pid":1,"bir')
    takeDataLock(folder, process.pid, () => true).release()
    // The number is in use again, by a process that was born later.
    await writeFile(join(folder, 'up.lock'), JSON.stringify({ pid: process.ppid, birth: 'another boot/1' }))
    takeDataLock(folder, process.pid, () => true).release()
    deepEqual(await readdir(folder), [])
  })
})

describe('the address for the house', () => {
  it('is a private one that is not a container’s', () => {
    const entry = (address: string, internal = false) => ({
      address,
      internal,
      family: 'IPv4' as const,
      netmask: '255.255.255.0',
      mac: '',
      cidr: null
    })
    const found = lanAddress({
      lo: [entry('127.0.0.1', true)],
      docker0: [entry('172.17.0.1')],
      wan: [entry('203.0.113.9')],
      wlan0: [entry('192.168.1.20')]
    })
    equal(found, '192.168.1.20')
    equal(lanAddress({ lo: [entry('127.0.0.1', true)] }), undefined)
  })

  it('is told only where those who type it are let in', () => {
    match(lanSentence('192.168.1.20', 'http', 80, false), /^http:\/\/192\.168\.1\.20:80 .*token/)
    match(lanSentence('192.168.1.20', 'https', 80, true), /^https:\/\/192\.168\.1\.20:80 /)
    match(lanSentence('203.0.113.9', 'http', 80, false), /^203\.0\.113\.9 is no address of a private network/)
    match(lanSentence('203.0.113.9', 'http', 80, true), /^http:\/\/203\.0\.113\.9:80 .*everybody/)
    match(lanSentence(undefined, 'http', 80, false), /no address in a local network/)
  })
})

/** Uploads on their way, in all stores of an `up`. */
async function temporaryFiles(folder: string): Promise<string[]> {
  const entries = await readdir(join(folder, 'data', 'stores'), { recursive: true, withFileTypes: true })
  return entries
    .filter(entry => entry.isFile() && entry.parentPath.includes('/.tmp/'))
    .map(({ name }) => name)
}

async function activeMembers(client: Client): Promise<number> {
  const { groups } = await client.groups()
  return groups
    .flatMap(group => group.members)
    .filter(({ status, serving }) => status === 'ACTIVE' && serving).length
}

/** Main process and data workers of one member. */
async function storageProcesses(up: RunningUp, member: string): Promise<number[]> {
  const found: number[] = []
  for (const pid of await processesWith(`--member ${member}`)) {
    if (!(await isChildOf(pid, up.child.pid!))) continue
    found.push(pid)
    for (const worker of await processesWith('storage/src/worker/main.ts')) {
      if (await isChildOf(worker, pid)) found.push(worker)
    }
  }
  return found
}

async function isChildOf(pid: number, parent: number): Promise<boolean> {
  const status = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  return Number(status.slice(status.lastIndexOf(')') + 2).split(' ')[1]) === parent
}
