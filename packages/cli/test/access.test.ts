/** Tokens, rules and signed addresses by command, against a real cluster and gateway. */
import { after, before, describe, it } from 'node:test'
import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { makeSigningKey } from '@tributary/client'
import { formatAddress } from '@tributary/protocol'
import { startPlayableCluster, type PlayableCluster } from '../../../test/testkit/gateway.ts'
import { runCommand, temporaryFolder, type Run } from './command-run.ts'

describe('access by command', { timeout: 60_000 }, () => {
  let system: PlayableCluster
  before(async () => {
    system = await startPlayableCluster()
    await system.client.upload(Buffer.from('a film'), {
      key: { application: 'media', user: 'public', file: 'film' }
    })
  })
  after(() => system?.stop())

  const run = async (t: Parameters<typeof temporaryFolder>[0], ...args: string[]): Promise<Run> => {
    const where = ['--trackers', formatAddress(system.cluster.tracker)]
    return runCommand([...args, ...where], await temporaryFolder(t))
  }
  const statusOf = async (url: string, token?: string): Promise<number> => {
    const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` }
    const response = await fetch(url, { headers })
    await response.arrayBuffer()
    return response.status
  }

  it('makes a token, lists it without its secret, and ends it', async t => {
    const made = await run(
      t,
      'token',
      'create',
      'my phone',
      '--right',
      'read',
      '--on',
      'media/anna',
      '--expires',
      '90d'
    )
    equal(made.code, 0, made.err)
    match(made.out, /^trb_[\w-]{43}\n$/)
    const listed = await run(t, 'token', 'list', '--json')
    const token = JSON.parse(listed.out)
    equal(token.name, 'my phone')
    deepEqual(token.grants, [{ application: 'media', user: 'anna', rights: ['read'] }])
    ok(!listed.out.includes(made.out.trim()))
    match((await run(t, 'token', 'list')).out, /my phone {2}read on media\/anna {2}until .* never used/)
    equal(await statusOf(`${system.url}/api/v1/session`, made.out.trim()), 200)
    equal((await run(t, 'token', 'revoke', token.id)).code, 0)
    equal((await run(t, 'token', 'list')).out, '')
    match((await run(t, 'token', 'list', '--revoked')).out, /revoked/)
    await until(async () => (await statusOf(`${system.url}/api/v1/session`, made.out.trim())) === 401)
    equal((await run(t, 'token', 'revoke', 'nosuchtoken')).code === 0, false)
    const { entries } = await system.client.index('audit.list', { limit: 10 })
    deepEqual(
      entries.filter(({ file }) => file === token.id).map(({ what }) => what),
      ['token.revoke', 'token.create']
    )
    match(entries[0]!.who, /^command line, /)
  })

  it('closes an application, and prints addresses that open a film of it', async t => {
    const set = await run(t, 'access', 'set', 'media', '--reads', 'signed', '--user-bytes-max', '1GiB')
    equal(set.code, 0, set.err)
    match(set.out, /^media {2}reads signed {2}1\.00 GiB a user|^media {2}reads signed/)
    match((await run(t, 'access', 'list')).out, /reads signed/)
    const gateway = await system.openGateway({ 'write-token-file': await tokenFile(t) })
    const film = `${gateway}/files/media/public/film`
    equal(await statusOf(film), 401)
    const signed = await run(t, 'sign', 'film', '--expires', '1h', '--http-url', gateway, '--json')
    equal(signed.code, 0, signed.err)
    const links = JSON.parse(signed.out)
    equal(await statusOf(links.file), 200)
    equal(await statusOf(links.file.replace('film?', 'other?')), 403)
    const elsewhere = await run(
      t,
      'sign',
      'film',
      '--network',
      '198.51.100.0/24',
      '--http-url',
      gateway,
      '--json'
    )
    equal(await statusOf(JSON.parse(elsewhere.out).file), 403)

    const folder = await temporaryFolder(t)
    const key = makeSigningKey()
    await writeFile(join(folder, 'key'), `${key.id}:${key.secret}\n`)
    const unknown = await runCommand(
      ['sign', 'film', '--key-file', 'key', '--http-url', gateway, '--json'],
      folder
    )
    equal(unknown.code, 0, unknown.err)
    equal(await statusOf(JSON.parse(unknown.out).file), 403, 'a key that the cluster does not know')

    const { out } = await run(t, 'access', 'keys', '--json')
    const old = JSON.parse(out)
    equal(old.secret, undefined)
    equal((await run(t, 'access', 'rotate-key')).code, 0)
    equal((await run(t, 'access', 'remove-key', old.id)).code, 0)
    await until(async () => (await statusOf(links.file)) === 403)
  })

  it('answers wrong use in words', async t => {
    for (const [args, sentence] of [
      [['token', 'create', 'x'], /right/],
      [['token', 'create', 'x', '--right', 'read', '--on', '../x'], /invalid application id/],
      [['token', 'create', 'x', '--right', 'read', '--expires', 'soon'], /A time such as/],
      [['sign', 'film', '--network', 'nowhere'], /not a network/],
      [['access', 'set', 'media'], /nothing is to be changed/],
      [['access', 'set', 'media', '--reads', 'nobody'], /open, signed, token/]
    ] as const) {
      const { code, err } = await run(t, ...args)
      ok(code !== 0)
      match(err, sentence)
    }
  })

  async function tokenFile(t: Parameters<typeof temporaryFolder>[0]): Promise<string> {
    const path = join(await temporaryFolder(t), 'write-token')
    await writeFile(path, 'the-write-token\n', { mode: 0o600 })
    return path
  }
})

async function until(holds: () => Promise<boolean>): Promise<void> {
  const endMs = performance.now() + 10_000
  while (!(await holds())) {
    if (performance.now() > endMs) throw new Error('it did not come to be in time')
    await wait(100)
  }
}
