import { deepEqual, equal } from 'node:assert/strict'
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, it, type TestContext } from 'node:test'

/** Starts what start.mjs starts: a wrapper around `child`, whose standard output we see. */
function wrapped(t: TestContext, child: string, options = ''): ChildProcess & { lines: string[] } {
  const module = new URL('../child.mjs', import.meta.url).href
  const wrapper = `
    import { runToEnd } from '${module}'
    const end = await runToEnd(process.execPath, ['--eval', ${JSON.stringify(child)}], { ipc: true, ${options} })
    process.exitCode = end.exitCode`
  const started = spawn(process.execPath, ['--input-type=module', '--eval', wrapper], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, npm_lifecycle_event: '' }
  })
  t.after(() => started.kill('SIGKILL'))
  const lines: string[] = []
  started.stdout.setEncoding('utf8').on('data', (text: string) => lines.push(...text.trim().split('\n')))
  return Object.assign(started, { lines })
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(10)
}

const STOPS_IN_ORDER = `
  process.on('SIGINT', () => { console.log('SIGINT'); setTimeout(() => process.exit(7), 800) })
  process.on('SIGTERM', () => { console.log('SIGTERM'); setTimeout(() => process.exit(8), 800) })
  setInterval(() => {}, 1000)
  console.log('ready')`

describe('the wrapper of a child', { timeout: 20_000 }, () => {
  it('ends with its exit code', async t => {
    deepEqual(await once(wrapped(t, 'process.exit(5)'), 'exit'), [5, null])
  })

  it('ends as a shell would, with 128 and the number, when a signal ended it', async t => {
    deepEqual(await once(wrapped(t, `process.kill(process.pid, 'SIGKILL')`), 'exit'), [137, null])
  })

  it('passes one Ctrl-C on once, though it comes from the terminal and through npm, and waits', async t => {
    const wrapper = wrapped(t, STOPS_IN_ORDER)
    await until(() => wrapper.lines.includes('ready'))
    wrapper.kill('SIGINT')
    await sleep(50)
    wrapper.kill('SIGINT')
    deepEqual(await once(wrapper, 'exit'), [7, null])
    deepEqual(wrapper.lines, ['ready', 'SIGINT'])
  })

  it('does not turn a lost terminal into a second order after the first', async t => {
    const wrapper = wrapped(t, STOPS_IN_ORDER)
    await until(() => wrapper.lines.includes('ready'))
    wrapper.kill('SIGINT')
    await sleep(500)
    wrapper.kill('SIGHUP')
    await once(wrapper, 'exit')
    deepEqual(wrapper.lines, ['ready', 'SIGINT'])
  })

  it('is noticed by the child when it is killed', async t => {
    const child = `
      process.on('disconnect', () => { console.log('alone'); process.exit() })
      console.log('ready')`
    const wrapper = wrapped(t, child)
    await until(() => wrapper.lines.includes('ready'))
    wrapper.kill('SIGKILL')
    await once(wrapper, 'close') // comes when nobody holds the output any more: the child is gone too
    equal(wrapper.lines.at(-1), 'alone')
  })

  it('ends the whole group of a child that takes too long', async t => {
    const child = `
      require('node:child_process').spawn('sleep', ['60'], { stdio: 'inherit' })
      console.log('ready')`
    const wrapper = wrapped(t, child, 'timeoutMs: 1500')
    await once(wrapper, 'close') // comes when nobody holds the output any more, the grandchild included
    deepEqual(wrapper.lines, ['ready'])
  })
})
