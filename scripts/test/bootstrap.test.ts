import { equal } from 'node:assert/strict'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { missingDependency } from '../bootstrap.mjs'

const A = { version: '1.0.0', integrity: 'sha512-a' }
const OTHER_SYSTEM = { version: '2.0.0', integrity: 'sha512-b', optional: true }

async function checkout(t: TestContext, wanted: object, installed?: object): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), 'tributary-bootstrap-'))
  t.after(() => rm(root, { recursive: true, force: true }))
  await writeFile(join(root, 'package-lock.json'), JSON.stringify({ packages: { '': {}, ...wanted } }))
  if (installed !== undefined) {
    await mkdir(join(root, 'node_modules'))
    const hidden = join(root, 'node_modules', '.package-lock.json')
    await writeFile(hidden, JSON.stringify({ packages: installed }))
  }
  return root
}

describe('looking for missing dependencies', () => {
  it('wants everything in a fresh clone, and after an installation that broke off', async t => {
    equal(missingDependency(await checkout(t, { 'node_modules/a': A })), 'node_modules')
  })

  it('is content with what the lockfile says, without what is for other systems', async t => {
    const wanted = { 'packages/x': {}, 'node_modules/a': A, 'node_modules/b': OTHER_SYSTEM }
    equal(missingDependency(await checkout(t, wanted, { 'node_modules/a': A })), undefined)
  })

  it('sees a package that is new, or has another version or content', async t => {
    const wanted = { 'node_modules/a': A }
    equal(missingDependency(await checkout(t, wanted, {})), 'node_modules/a')
    for (const change of [{ version: '1.0.1' }, { integrity: 'sha512-c' }]) {
      const installed = { 'node_modules/a': { ...A, ...change } }
      equal(missingDependency(await checkout(t, wanted, installed)), 'node_modules/a')
    }
  })

  it('sees a package of the workspace that is not linked', async t => {
    const wanted = { 'node_modules/@tributary/new': { link: true } }
    equal(missingDependency(await checkout(t, wanted, {})), 'node_modules/@tributary/new')
  })
})
