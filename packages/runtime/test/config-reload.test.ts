import { deepEqual, equal, throws } from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { ConfigError, defineConfig, explainConfig, loadConfig, reloadConfig } from '../src/index.ts'

const definition = defineConfig(
  'gateway',
  {
    host: { type: 'string', default: '127.0.0.1', describe: 'Address' },
    names: { type: 'list', default: [], describe: 'Names' },
    token: { type: 'secret', optional: true, reloadable: true, describe: 'Token' },
    level: {
      type: 'choice',
      choices: ['info', 'debug'],
      default: 'info',
      reloadable: true,
      describe: 'Level'
    }
  },
  ({ host, token }) =>
    host !== '127.0.0.1' && token === undefined
      ? [{ key: 'token', expected: 'a token, as it listens beyond' }]
      : []
)

async function folderOf(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'tributary-reload-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  return folder
}

describe('a configuration that is read again', () => {
  it('takes what is reloadable, and names what needs a restart', async t => {
    const file = join(await folderOf(t), 'a.toml')
    await writeFile(file, '[gateway]\nhost = "127.0.0.1"\nnames = ["a", "b"]\n')
    const running = loadConfig(definition, { file })
    deepEqual(reloadConfig(definition, running, { file }), { value: running, changed: [], needRestart: [] })
    await writeFile(file, '[gateway]\nhost = "::1"\nnames = ["a"]\nlevel = "debug"\ntoken = "new"\n')
    const { value, changed, needRestart } = reloadConfig(definition, running, { file })
    deepEqual({ ...value }, { host: '127.0.0.1', names: ['a', 'b'], token: 'new', level: 'debug' })
    deepEqual(
      [changed, needRestart],
      [
        ['token', 'level'],
        ['host', 'names']
      ]
    )
  })

  it('reads the file of a secret again, and lets flags win as at the start', async t => {
    const folder = await folderOf(t)
    const secret = join(folder, 'token')
    await writeFile(secret, 'one\n')
    const sources = { env: { TRIBUTARY_GATEWAY_TOKEN_FILE: secret }, flags: { '--level': 'debug' } }
    const running = loadConfig(definition, sources)
    await writeFile(secret, 'two\n')
    equal(reloadConfig(definition, running, sources).value.token, 'two')
    equal(reloadConfig(definition, running, sources).value.level, 'debug')
  })

  it('reads a file again whose path stayed, takes nothing where it is gone, and cannot set or unset it', async t => {
    const folder = await folderOf(t)
    const path = join(folder, 'page.pem')
    const withFile = defineConfig('gateway', {
      page: { type: 'file', optional: true, reloadable: 'while-set', describe: 'Page' }
    })
    const sources = { flags: { '--page': path } }
    await writeFile(path, 'one')
    const running = loadConfig(withFile, sources)
    deepEqual(reloadConfig(withFile, running, sources).changed, [])
    await writeFile(path, 'two')
    const { value, changed } = reloadConfig(withFile, running, sources)
    deepEqual([value.page?.path, value.page?.text, changed], [path, 'two', ['page']])
    equal(JSON.stringify(value), JSON.stringify({ page: path }), 'what is in it is shown nowhere')
    equal(explainConfig(withFile, sources)[0]!.value, path)
    deepEqual(reloadConfig(withFile, running, {}).needRestart, ['page'])
    deepEqual(reloadConfig(withFile, loadConfig(withFile), sources).needRestart, ['page'])
    await rm(path)
    throws(() => reloadConfig(withFile, running, sources), /a file that can be read: ENOENT/)
  })

  it('is taken as a whole or not at all, with every problem told', async t => {
    const file = join(await folderOf(t), 'a.toml')
    await writeFile(file, '')
    const running = loadConfig(definition, { file })
    await writeFile(file, '[gateway]\nlevel = "loud"\ntoken_file = "/nowhere/at-all"\n')
    throws(
      () => reloadConfig(definition, running, { file }),
      (error: unknown) => error instanceof ConfigError && error.problems.length === 2
    )
    await rm(file)
    throws(() => reloadConfig(definition, running, { file }), ConfigError)
  })

  it('does not drop what the running server needs, though the new file by itself would be right', async t => {
    const file = join(await folderOf(t), 'a.toml')
    await writeFile(file, '[gateway]\nhost = "0.0.0.0"\ntoken = "secret"\n')
    const running = loadConfig(definition, { file })
    await writeFile(file, '[gateway]\nhost = "127.0.0.1"\n')
    throws(() => reloadConfig(definition, running, { file }), /with what this server was started with/)
  })
})
