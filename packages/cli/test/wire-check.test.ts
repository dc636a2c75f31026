import { deepEqual } from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { checkWire, readRoles } from '../src/doctor/configuration.ts'
import { noOpenssl, TestAuthority } from '../../../test/testkit/certificates.ts'

const KEY = '5e'.repeat(32)
const DAY_MS = 86_400_000

/** Level and subject of what the doctor says of the wire, by a configuration file. */
async function said(t: TestContext, toml: string, nowMs = Date.now()): Promise<string[]> {
  const folder = await mkdtemp(join(tmpdir(), 'tributary-wire-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  const file = join(folder, 'tributary.toml')
  await writeFile(file, toml)
  const { roles } = readRoles(file, {})
  return checkWire(roles, nowMs).list.map(({ level, subject, found }) => `${level} ${subject}: ${found}`)
}

describe('what the doctor says of the wire protocol', () => {
  const database = 'database = ["sqlite:/nowhere/index.db"]'

  it('is nothing where all of it stays on this machine', async t => {
    deepEqual(await said(t, `[common]\n${database}\n`), [])
  })

  it('is a warning where whoever comes may do everything', async t => {
    deepEqual(await said(t, `[tracker]\n${database}\nhost = "192.0.2.1"\ninsecure = true\n`), [
      'warning tracker: whoever reaches it may read, write and administer: there is no cluster key, and insecure = true'
    ])
  })

  it('tells an allow list from a key', async t => {
    deepEqual(await said(t, `[tracker]\n${database}\nhost = "192.0.2.1"\nallow = ["private"]\n`), [
      'ok tracker: believes every program of the networks in `allow`: there is no cluster key'
    ])
    deepEqual(
      await said(t, `[common]\ncluster_key = "${KEY}"\n[tracker]\n${database}\nhost = "192.0.2.1"\n`),
      ['ok tracker: wants proof of the cluster key']
    )
  })

  it('is a warning where the roles of a machine differ', async t => {
    deepEqual(await said(t, `[tracker]\n${database}\ncluster_key = "${KEY}"\n`), [
      'warning cluster_key: the roles of this machine do not have the same one'
    ])
  })

  it('warns before a certificate ends', { skip: noOpenssl() ?? false }, async t => {
    const authority = await TestAuthority.open()
    t.after(() => authority.close())
    const { path, keyPath } = await authority.issue(30)
    const toml = `[tracker]\n${database}\nwire_authorities = "${authority.path}"\nwire_certificate = "${path}"\nwire_private_key = "${keyPath}"\n`
    deepEqual(await said(t, toml), [])
    const [soon = ''] = await said(t, toml, Date.now() + 20 * DAY_MS)
    deepEqual(soon.replace(/\d{4}-.*/, ''), 'warning tracker: its wire certificate expires on ')
    const [over = ''] = await said(t, toml, Date.now() + 40 * DAY_MS)
    deepEqual(over.replace(/\d{4}-.*/, ''), 'problem tracker: its wire certificate expired on ')
  })
})
