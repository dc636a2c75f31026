import { equal, match, ok } from 'node:assert/strict'
import { copyFile, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { runCommand, temporaryFolder } from './command-run.ts'

const THREE = fileURLToPath(new URL('../../../deploy/examples/three.toml', import.meta.url))

async function folderWithThree(t: TestContext): Promise<string> {
  const folder = await temporaryFolder(t)
  await copyFile(THREE, join(folder, 'cluster.toml'))
  return folder
}

describe('tributary deploy', { timeout: 60_000 }, () => {
  it('checks, renders, and finds everything up to date the second time', async t => {
    const folder = await folderWithThree(t)
    const checked = await runCommand(['deploy', 'check', 'cluster.toml'], folder)
    equal(checked.out + checked.err, 'can work: 0 errors, 0 warnings\n')
    equal(checked.code, 0)
    const first = await runCommand(['deploy', 'render', 'cluster.toml', '--out', 'out'], folder)
    equal(first.code, 0, first.err)
    match(first.out, /made secrets in .*cluster\.secrets\.toml/)
    match(first.out, /out: read out\/README\.md/)
    const again = await runCommand(['deploy', 'render', 'cluster.toml', '--out', 'out'], folder)
    equal(again.out, 'out was up to date\n')
    const secrets = await readFile(join(folder, 'cluster.secrets.toml'), 'utf8')
    for (const [, secret = ''] of secrets.matchAll(/"(.*)"/g)) ok(!(first.out + first.err).includes(secret))
  })

  it('ends with 2 and every reason where it cannot work, with 0 where it only hangs on one of something', async t => {
    const folder = await folderWithThree(t)
    const text = await readFile(THREE, 'utf8')
    const broken = text.replace('["a", "b", "c"]', '["a", "b"]').replace('10.77.0.12', '10.77.0.11')
    await writeFile(join(folder, 'broken.toml'), broken)
    const { code, out, err } = await runCommand(['deploy', 'check', 'broken.toml'], folder)
    equal(code, 2)
    match(out, /^cannot work: 2 errors/)
    match(err, /^error: hosts\.b\.address = 10\.77\.0\.11: expected .*\nerror: groups\.group001\.members/)
    equal((await runCommand(['deploy', 'render', 'broken.toml', '-o', 'out'], folder)).code, 2)

    await writeFile(
      join(folder, 'single.toml'),
      text.replace(/\[\[virtual_addresses\]\]\nfor = "gateway"\naddress = \S+\n/, '')
    )
    const single = await runCommand(['deploy', 'check', 'single.toml', '--json'], folder)
    equal(single.code, 0)
    const { ok: canWork, findings } = JSON.parse(single.out)
    equal(canWork, true)
    equal(findings.length, 1)
    equal(findings[0].severity, 'warning')
    equal(findings[0].file, 'single.toml')

    const both = await runCommand(['deploy', 'check', 'cluster.toml', 'single.toml'], folder)
    equal(both.code, 2)
    match(both.err, /cluster\.toml: hosts\.a\.address/)
    match((await runCommand(['deploy', 'check', 'nowhere.toml'], folder)).err, /does not exist/)
    match((await runCommand(['deploy', 'render', 'cluster.toml'], folder)).err, /--out/)
  })

  it('says what a change needs, as text and as JSON', async t => {
    const folder = await folderWithThree(t)
    await runCommand(['deploy', 'render', 'cluster.toml', '--out', 'out'], folder)
    const text = await readFile(THREE, 'utf8')
    const changed = text.replace('name = "c"\naddress = "10.77.0.13"', 'name = "d"\naddress = "10.77.0.14"')
    await writeFile(join(folder, 'cluster.toml'), changed.replace('"b", "c"]', '"b", "d"]'))
    const { out } = await runCommand(['deploy', 'render', 'cluster.toml', '--out', 'out'], folder)
    match(out, /to do: group001: 10\.77\.0\.14 takes the place of 10\.77\.0\.13: run it on a/)
    match(
      out,
      /not deleted yet, in their order:\n {2}out\/changes\/01-glusterd\.d\.sh\n {2}out\/changes\/02-group001\.a\.sh\n/
    )
    const pending = JSON.parse(
      (await runCommand(['deploy', 'render', 'cluster.toml', '--out', 'out', '--json'], folder)).out
    )
    equal(pending.scripts[1], 'changes/02-group001.a.sh')
    await rm(join(folder, 'out/changes'), { recursive: true })
    equal(
      (await runCommand(['deploy', 'render', 'cluster.toml', '--out', 'out'], folder)).out,
      'out was up to date\n'
    )
  })
})
