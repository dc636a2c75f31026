/** A gateway with a certificate, as operators have it: served, renewed while people watch, expired, broken. */
import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { chmod, copyFile, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { connect } from 'node:tls'
import { noOpenssl, TestAuthority, type TestCertificate } from '../testkit/certificates.ts'
import { cleanUps } from '../testkit/clean-ups.ts'
import { freePort } from '../testkit/ports.ts'
import { runProgram, startProgram, type ProgramEnd } from '../testkit/program.ts'
import { startSmallCluster, type RoleServer } from '../testkit/role-processes.ts'
import { missingPrograms } from '../testkit/service.ts'
import { TributaryProcess, until } from '../testkit/tributary-process.ts'
import { RunningUp } from '../testkit/up.ts'

const MIB = 1024 * 1024
const TAKEN_WITHIN_MS = 10_000
const skip = noOpenssl() ?? missingPrograms(['curl'])

describe('HTTPS', { skip, timeout: 180_000 }, () => {
  const endings: (() => unknown)[] = []
  const afterwards = cleanUps({ after: callback => void endings.push(callback) })
  let authority: TestAuthority
  let folder: string
  let certificate: string
  let privateKey: string
  let gateway: RoleServer
  let adminPort: number
  let inUse: TestCertificate
  const film = randomBytes(16 * MIB)

  before(async () => {
    authority = await TestAuthority.open()
    afterwards(() => authority.close())
    folder = await mkdtemp(join(tmpdir(), 'tributary-https-'))
    afterwards(() => rm(folder, { recursive: true, force: true, maxRetries: 3 }))
    certificate = join(folder, 'fullchain.pem')
    privateKey = join(folder, 'privkey.pem')
    await install(await authority.issue())
    const { tracker, start } = await startSmallCluster(folder, afterwards, ['storage'])
    adminPort = await freePort()
    gateway = await start('gateway', 'gateway', {
      trackers: [tracker.address],
      certificate,
      private_key: privateKey,
      admin_port: adminPort
    })
    await writeFile(join(folder, 'film'), film)
    await until('the gateway is ready', TAKEN_WITHIN_MS, async () =>
      fetch(`http://127.0.0.1:${adminPort}/readyz`).then(({ ok }) => ok)
    )
  })
  after(async () => {
    for (const end of endings.reverse()) await end()
  })

  /** As a renewal does: over the files that are there. */
  const install = async (next: TestCertificate): Promise<void> => {
    await copyFile(next.path, certificate)
    await copyFile(next.keyPath, privateKey)
    await chmod(privateKey, 0o640)
    inUse = next
  }
  const urlOf = (file: string): string => `https://127.0.0.1:${gateway.port}/files/media/public/${file}`
  const curl = (...args: string[]): Promise<ProgramEnd> =>
    runProgram('curl', ['-sS', '--cacert', authority.path, ...args])
  const servedSerial = async (): Promise<string | undefined> => {
    const socket = connect({ host: '127.0.0.1', port: gateway.port, ca: authority.text })
    await once(socket, 'secureConnect')
    const serial = socket.getPeerX509Certificate()?.serialNumber
    socket.destroy()
    return serial
  }
  const reload = async (says: RegExp): Promise<string> => {
    const from = gateway.process.err.length
    gateway.process.send('SIGHUP')
    return until(`the gateway has said ${says}`, TAKEN_WITHIN_MS, () => {
      const text = gateway.process.err.slice(from)
      return says.test(text) ? text : undefined
    })
  }

  it('takes an upload of curl and gives it back, whole and in part', async () => {
    const put = await curl('-f', '-T', join(folder, 'film'), urlOf('film'))
    equal(put.exitCode, 0, put.stderr)
    const whole = join(folder, 'whole')
    equal((await curl('-f', '-o', whole, urlOf('film'))).exitCode, 0)
    ok((await readFile(whole)).equals(film))
    const part = join(folder, 'part')
    const { stdout } = await curl('-f', '-r', '100-299', '-o', part, '-w', '%{http_code}', urlOf('film'))
    equal(stdout, '206')
    ok((await readFile(part)).equals(film.subarray(100, 300)))
  })

  it('tells curl that forgot the s, and does not let it hang', async () => {
    const { stdout, exitCode } = await curl('-i', '--max-time', '5', urlOf('film').replace('https', 'http'))
    equal(exitCode, 0)
    match(stdout, /^HTTP\/1\.1 400 [^]*https:\/\//)
  })

  it('has health and metrics without TLS, with the end of the certificate among them', async () => {
    const text = await (await fetch(`http://127.0.0.1:${adminPort}/metrics`)).text()
    match(text, /^tributary_gateway_certificate_expiry_timestamp_seconds \d{10}$/m)
  })

  it('takes a renewed certificate at SIGHUP while a slow download goes on', async () => {
    const renewed = await authority.issue()
    const target = join(folder, 'slow')
    const args = ['-sSf', '--cacert', authority.path, '--limit-rate', '4M', '-o', target, urlOf('film')]
    const download = startProgram('curl', args)
    const ended = once(download, 'close')
    await until('the download has begun', TAKEN_WITHIN_MS, async () =>
      stat(target).then(
        ({ size }) => size > 0,
        () => false
      )
    )
    equal(await servedSerial(), inUse.serial)
    await install(renewed)
    const said = await reload(/read again/)
    match(said, new RegExp(`"serial":"${inUse.serial}"`))
    match(said, /"changed":\["certificate","private_key"\]/)
    equal(await servedSerial(), inUse.serial)
    equal(download.exitCode, null, 'the download was still going on')
    deepEqual(await ended, [0, null])
    equal(sha256(await readFile(target)), sha256(film))
  })

  it('refuses a renewal that is broken, tells why, and goes on with what it had', async () => {
    const good = inUse
    await copyFile((await authority.issue()).path, certificate)
    const mixed = await reload(/gateway\.private_key: expected .*all stays as it was/)
    match(mixed, /the key that belongs to the certificate/)
    ok(!gateway.process.err.includes('BEGIN'), 'what is in the files never reaches a log')
    equal(await servedSerial(), good.serial)
    await writeFile(certificate, good.text.slice(0, 200))
    await reload(/gateway\.certificate: expected a PEM file.*all stays as it was/)
    await rm(privateKey)
    await reload(/gateway\.private_key: expected a file that can be read/)
    equal(await servedSerial(), good.serial)
    equal((await curl('-f', '-o', join(folder, 'again'), urlOf('film'))).exitCode, 0)
    await install(await authority.issue())
    await reload(/read again/)
    equal(await servedSerial(), inUse.serial)
  })

  it('goes on with one that has expired, says so, and is refused by clients until it is renewed', async () => {
    await install(await authority.issue(-1))
    await reload(/"level":"warn"[^\n]*another certificate, for new connections: it expired on/)
    const { exitCode, stderr } = await curl('-f', urlOf('film'))
    equal(exitCode, 60)
    match(stderr, /certificate has expired/)
    equal((await fetch(`http://127.0.0.1:${adminPort}/readyz`)).status, 200)
    await install(await authority.issue())
    await reload(/read again/)
    equal((await curl('-f', '-o', join(folder, 'renewed'), urlOf('film'))).exitCode, 0)
  })

  it('does not go back to HTTP at SIGHUP, and says what that needs', async () => {
    const file = join(folder, 'gateway.toml')
    const right = await readFile(file, 'utf8')
    await writeFile(file, right.replace(/^(?:certificate|private_key) = .*$/gm, ''))
    await reload(/changed, and needs a restart: certificate, private_key/)
    equal(await servedSerial(), inUse.serial)
    await writeFile(file, right)
  })

  it('is looked after by the doctor', async () => {
    const examine = async (...flags: string[]): Promise<string> => {
      const config = join(folder, 'gateway.toml')
      const run = new TributaryProcess(['doctor', '--config', config, ...flags], { folder })
      await run.ended
      return run.out
    }
    const well = await examine()
    match(well, /^ok +certificate: .*fullchain\.pem: for DNS:localhost, IP Address:127\.0\.0\.1, until 20/m)
    match(well, /^ok +port: 127\.0\.0\.1:\d+ \(gateway\): our own server listens there$/m)
    match(well, /^ok +configuration: .*privkey\.pem: its secrets are closed to other users$/m)
    const ofNobody = await examine('--user', 'nobody')
    match(ofNobody, /^problem +certificate: .*fullchain\.pem: nobody may not enter /m)
    match(ofNobody, /^problem +configuration: .*privkey\.pem: nobody may not enter /m)
    const good = inUse
    await install(await authority.issue(3))
    await chmod(privateKey, 0o644)
    const forgotten = await examine()
    match(
      forgotten,
      /^warning +port: .*\(gateway\): our own server, with another certificate than its file$/m
    )
    match(forgotten, /^problem +configuration: .*privkey\.pem: every user of this machine can read/m)
    await install(await authority.issue(-1))
    match(await examine(), /^warning +certificate: .*it expired on .*clients refuse it$/m)
    await install(good)
  })

  it('is what `up` tells of, where it has a certificate', async t => {
    const cleanUp = cleanUps(t)
    const flags = ['--certificate', certificate, '--private-key', privateKey, '--lan']
    const up = await RunningUp.start({ flags })
    cleanUp(() => up.close())
    match(up.httpUrl, /^https:\/\/127\.0\.0\.1:\d+$/)
    equal((await curl('-f', `${up.httpUrl}/readyz`)).exitCode, 0)
    const upload = new TributaryProcess(['upload', join(folder, 'film')], { folder: up.folder })
    equal((await upload.ended).exitCode, 0, upload.err)
    const [link] = /https:\/\/\S+/.exec(upload.out) ?? []
    ok(link !== undefined, upload.out)
    equal((await curl('-f', '-o', join(folder, 'linked'), link)).exitCode, 0)
    ok((await readFile(join(folder, 'linked'))).equals(film))
  })

  it('is not begun with what cannot be served: one sentence, exit code 2', async () => {
    const other = await authority.issue()
    const flags = ['--port', '0', '--certificate', certificate, '--private-key', other.keyPath]
    const run = new TributaryProcess(['gateway', ...flags], { folder })
    equal((await run.ended).exitCode, 2)
    match(
      run.err,
      /gateway\.private_key = .*server\d+\.key .*: expected the key that belongs to the certificate/
    )
    ok(!run.err.includes('BEGIN'))
  })
})

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}
