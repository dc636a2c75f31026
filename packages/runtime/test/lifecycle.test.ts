import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { fork, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { describe, it, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { describeStartFailure, EXIT } from '../src/index.ts'

const MODULE = fileURLToPath(new URL('./children/server.ts', import.meta.url))

interface Started {
  child: ChildProcess
  output: () => string
  ended: Promise<{ code: number | null; signal: string | null }>
}

function watch(t: TestContext, child: ChildProcess): Started {
  let output = ''
  child.stdout?.on('data', chunk => (output += String(chunk)))
  child.stderr?.on('data', chunk => (output += String(chunk)))
  t.after(() => child.kill('SIGKILL'))
  // Node emits no 'close' once the parent itself has disconnected.
  const ended = once(child, 'exit').then(([code, signal]) => ({ code, signal }) as never)
  return { child, output: () => output, ended }
}

function alone(t: TestContext, ...args: string[]): Started {
  return watch(t, spawn(process.execPath, [MODULE, ...args], { stdio: ['ignore', 'pipe', 'pipe'] }))
}

function withParent(t: TestContext, ...args: string[]): Started {
  return watch(t, fork(MODULE, args, { silent: true, serialization: 'advanced', execArgv: [] }))
}

async function prints(started: Started, pattern: RegExp): Promise<void> {
  while (!pattern.test(started.output())) {
    if (started.child.exitCode !== null) throw new Error(`ended early: ${started.output()}`)
    await sleep(10)
  }
}

/** An orphan that has ended stays a zombie until process 1 finds the time to bury it. */
function runs(pid: number): boolean {
  try {
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}

describe('running a server until a signal', { timeout: 60_000, concurrency: 2 }, () => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    it(`stops in order on ${signal}`, async t => {
      const started = alone(t)
      await prints(started, /ready/)
      started.child.kill(signal)
      deepEqual(await started.ended, { code: EXIT.ok, signal: null })
      equal(started.output().match(/stop was called/g)?.length, 1)
      match(started.output(), /"msg":"stopped"/)
    })
  }

  it('leaves at once on a second signal', async t => {
    const started = alone(t, 'deaf')
    await prints(started, /ready/)
    started.child.kill('SIGTERM')
    await prints(started, /stop was called/)
    started.child.kill('SIGINT')
    deepEqual(await started.ended, { code: 130, signal: null })
  })

  it('does not wait for ever for a stop that ignores its deadline', async t => {
    const started = alone(t, 'deaf')
    await prints(started, /ready/)
    started.child.kill('SIGTERM')
    deepEqual(await started.ended, { code: EXIT.failed, signal: null })
  })

  it('gives a stop its deadline', async t => {
    const started = alone(t, 'until-deadline')
    await prints(started, /ready/)
    started.child.kill('SIGTERM')
    deepEqual(await started.ended, { code: EXIT.ok, signal: null })
  })

  it('reports a stop that failed', async t => {
    const started = alone(t, 'bad-stop')
    await prints(started, /ready/)
    started.child.kill('SIGTERM')
    deepEqual(await started.ended, { code: EXIT.failed, signal: null })
    match(started.output(), /cannot stop/)
  })

  it('calls a start off', async t => {
    for (const behaviour of ['slow-start', 'never']) {
      const started = alone(t, behaviour)
      await prints(started, /starting/)
      started.child.kill('SIGTERM')
      const { code } = await started.ended
      equal(code, behaviour === 'never' ? EXIT.failed : EXIT.ok, behaviour)
      ok(!started.output().includes('cannot start'))
    }
  })

  it('says in one sentence why it cannot start, stops what was started, and fails', async t => {
    const holder = createServer().listen(0, '127.0.0.1')
    t.after(() => holder.close())
    await once(holder, 'listening')
    const { port } = holder.address() as { port: number }
    const started = withParent(t, 'taken', String(port))
    const messages: unknown[] = []
    started.child.on('message', message => messages.push(message))
    deepEqual(await started.ended, { code: EXIT.failed, signal: null })
    match(started.output(), new RegExp(`cannot start: 127.0.0.1:${port} is taken by another program`))
    match(started.output(), /stop was called/)
    deepEqual(messages, [{ type: 'failed', message: `127.0.0.1:${port} is taken by another program` }])
  })

  it('tells a wrong configuration from a failed start', async t => {
    const started = alone(t, 'misconfigured')
    deepEqual(await started.ended, { code: EXIT.misconfigured, signal: null })
    match(started.output(), /a\.b = 1 \(test\): expected another/)
    ok(!started.output().includes('    at '), 'no stack for a mistake of the operator')
  })

  it('crashes loudly on an error that nobody caught', async t => {
    for (const type of ['crash', 'reject']) {
      const started = withParent(t)
      await once(started.child, 'message')
      started.child.send({ type })
      deepEqual(await started.ended, { code: EXIT.failed, signal: null })
      match(started.output(), new RegExp(`"fatal".*told to ${type}`))
    }
  })

  it('tells its parent that it is ready, answers pings, and stops in order when the parent is gone', async t => {
    const started = withParent(t)
    const [ready] = (await once(started.child, 'message')) as [unknown]
    deepEqual(ready, { type: 'ready', pid: started.child.pid, fields: { port: 4_711, size: 2n ** 60n } })
    started.child.send({ type: 'ping', id: 5 })
    deepEqual((await once(started.child, 'message'))[0], { type: 'pong', id: 5 })
    started.child.disconnect()
    deepEqual(await started.ended, { code: EXIT.ok, signal: null })
    match(started.output(), /the parent is gone/)
  })

  it('ends although the parent that was killed took the pipes of its output along', async t => {
    const code = `import { fork } from 'node:child_process'
      const child = fork(${JSON.stringify(MODULE)}, ['serve'], { silent: true, detached: true, execArgv: [], serialization: 'advanced' })
      child.on('message', () => console.log(child.pid))`
    const parent = watch(
      t,
      spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['ignore', 'pipe', 'inherit'] })
    )
    await prints(parent, /\d+\n/)
    const pid = Number(parent.output())
    parent.child.kill('SIGKILL')
    for (let waitedMs = 0; runs(pid); waitedMs += 10) {
      if (waitedMs > 3_000) process.kill(pid, 'SIGKILL')
      ok(waitedMs <= 3_000, 'the child outlived its parent by 3 s')
      await sleep(10)
    }
  })
})

describe('the sentence about a failed start', () => {
  it('names the cause for people', () => {
    const error = (fields: object): Error => Object.assign(new Error('plain words'), fields)
    match(describeStartFailure(error({ code: 'EADDRINUSE', address: '::1', port: 80 })), /::1.*80 is taken/)
    match(describeStartFailure(error({ code: 'EACCES', path: '/data' })), /\/data cannot be written/)
    match(describeStartFailure(error({ code: 'ENOSPC' })), /no space left/)
    equal(describeStartFailure(error({})), 'plain words')
    equal(describeStartFailure('mysql://a:b@c'), 'mysql://[redacted]@c')
    equal(describeStartFailure(undefined), 'undefined')
  })
})
