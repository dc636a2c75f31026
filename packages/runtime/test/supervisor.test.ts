import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict'
import { fork, spawnSync } from 'node:child_process'
import { describe, it, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import {
  ChildStartError,
  ProcessSupervisor,
  SERVER_NODE_FLAGS,
  type ChildEnd,
  type SupervisorOptions
} from '../src/index.ts'

const MODULE = fileURLToPath(new URL('./children/server.ts', import.meta.url))

interface Watched {
  supervisor: ProcessSupervisor
  lines: string[]
  messages: unknown[]
  crashes: ChildEnd[]
  waitsMs: (number | undefined)[]
  readyPids: number[]
}

function supervised(t: TestContext, behaviour: string, options: Partial<SupervisorOptions> = {}): Watched {
  const watched: Omit<Watched, 'supervisor'> = {
    lines: [],
    messages: [],
    crashes: [],
    waitsMs: [],
    readyPids: []
  }
  const supervisor = new ProcessSupervisor({
    name: 'child 1',
    command: { module: MODULE, args: [behaviour, 'x'], env: { PATH: process.env['PATH'], MARK: 'yes' } },
    onLine: (stream, line) => watched.lines.push(`${stream}: ${line}`),
    onMessage: message => watched.messages.push(message),
    onReady: (_fields, pid) => watched.readyPids.push(pid),
    onCrash: (end, waitMs) => {
      watched.crashes.push(end)
      watched.waitsMs.push(waitMs)
    },
    ...options
  })
  t.after(() => supervisor.stop(AbortSignal.abort()))
  return { supervisor, ...watched }
}

async function until(condition: () => boolean, what: string, withinMs = 15_000): Promise<number> {
  const startMs = performance.now()
  while (!condition()) {
    ok(performance.now() - startMs < withinMs, `${what} did not happen within ${withinMs} ms`)
    await sleep(5)
  }
  return performance.now() - startMs
}

function lives(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

describe('a supervised process', { timeout: 60_000, concurrency: 2 }, () => {
  it('is ready with its fields, prints lines, exchanges messages, and stops in order', async t => {
    const { supervisor, lines, messages } = supervised(t, 'serve')
    deepEqual(await supervisor.start(), { port: 4_711, size: 2n ** 60n })
    equal(supervisor.state, 'running')
    equal(supervisor.send({ type: 'echo', id: 7n, bytes: Buffer.from('ab') }), true)
    await until(() => messages.length === 1, 'the echo')
    equal((messages[0] as { id: bigint }).id, 7n)
    const pid = supervisor.pid!
    await supervisor.stop(AbortSignal.timeout(5_000))
    equal(supervisor.state, 'stopped')
    equal(lives(pid), false)
    ok(lines.includes('stdout: starting serve x'), lines.join('\n'))
    match(lines.join('\n'), /stderr: .*stopped/)
    equal(supervisor.send({ type: 'echo' }), false)
  })

  it('has the flags of every server, and its own behind them, which count', async t => {
    const command = { module: MODULE, args: ['flags'], env: {}, execArgv: ['--max-semi-space-size=2'] }
    const { supervisor, lines } = supervised(t, 'flags', { command })
    await supervisor.start()
    await until(() => lines.some(line => line.includes('flags ')), 'the line')
    equal(
      lines.find(line => line.includes('flags ')),
      `stdout: flags ${SERVER_NODE_FLAGS.join(' ')} --max-semi-space-size=2`
    )
  })

  it('has a process group of its own', async t => {
    const { supervisor } = supervised(t, 'serve')
    await supervisor.start()
    const { stdout } = spawnSync('ps', ['-o', 'pgid=', '-p', String(supervisor.pid)], { encoding: 'utf8' })
    equal(Number(stdout), supervisor.pid)
  })

  it('is back within 3 s of kill -9, the first time at once', async t => {
    const { supervisor, readyPids, waitsMs, crashes } = supervised(t, 'serve')
    const startMs = performance.now()
    await supervisor.start()
    // A machine so busy that the first start alone takes that long tells nothing about the restart.
    const allowedMs = Math.max(3_000, 3 * (performance.now() - startMs))
    for (let round = 1; round <= 3; round++) {
      process.kill(supervisor.pid!, 'SIGKILL')
      const tookMs = await until(() => readyPids.length === round + 1, 'the restart', 20_000)
      ok(tookMs < allowedMs, `${tookMs} ms`)
    }
    equal(new Set(readyPids).size, 4)
    deepEqual(waitsMs, [0, 100, 200])
    equal(crashes[0]?.reason, 'killed by SIGKILL')
    equal(supervisor.restarts, 3)
  })

  it('is replaced when it ends by itself without being asked', async t => {
    const { supervisor, readyPids } = supervised(t, 'serve')
    await supervisor.start()
    process.kill(supervisor.pid!, 'SIGTERM')
    await until(() => readyPids.length === 2, 'the restart')
  })

  it('is given up when it crashes again and again', async t => {
    let givenUp: ChildEnd | undefined
    const { supervisor, waitsMs, crashes } = supervised(t, 'crash-soon', {
      onGivenUp: end => (givenUp = end)
    })
    await supervisor.start()
    await until(() => givenUp !== undefined, 'giving up', 20_000)
    deepEqual(waitsMs, [0, 100, 200, 400, undefined])
    equal(crashes.at(-1)?.reason, 'ended with exit code 3')
    equal(supervisor.state, 'given-up')
    await supervisor.stop(AbortSignal.timeout(100))
    equal(supervisor.state, 'given-up')
  })

  it('is replaced when it hangs, stopped by a signal or spinning', async t => {
    const hang = { intervalMs: 100, toleranceMs: 300 }
    const { supervisor, readyPids, crashes } = supervised(t, 'serve', { hang })
    await supervisor.start()
    await sleep(600)
    equal(readyPids.length, 1, 'one that answers is left alone')
    process.kill(supervisor.pid!, 'SIGSTOP')
    await until(() => readyPids.length === 2, 'the restart of a stopped one')
    supervisor.send({ type: 'spin' })
    await until(() => readyPids.length === 3, 'the restart of a spinning one')
    for (const end of crashes) match(end.reason, /did not answer for 300 ms/)
    equal(crashes.length, 2)
    for (const pid of readyPids.slice(0, 2)) equal(lives(pid), false)
  })

  it('is left behind and replaced when not even SIGKILL ends it', async t => {
    // What a process that is stuck in the kernel looks like from outside: the signal is sent, and nothing happens.
    const stuck: number[] = []
    const unkillable = ((...args: Parameters<typeof fork>) => {
      const child = fork(...args)
      const kill = child.kill.bind(child)
      if (stuck.length === 0) {
        stuck.push(child.pid!)
        child.kill = signal => signal === 'SIGKILL' || kill(signal)
      }
      return child
    }) as typeof fork
    const { supervisor, readyPids, crashes } = supervised(t, 'serve', {
      hang: { intervalMs: 50, toleranceMs: 100 },
      fork: unkillable
    })
    await supervisor.start()
    process.kill(stuck[0]!, 'SIGSTOP')
    t.after(() => process.kill(stuck[0]!, 'SIGKILL'))
    await until(() => readyPids.length === 2, 'the replacement')
    equal(crashes[0]?.abandoned, true)
    equal(lives(stuck[0]!), true)
    match(crashes[0]?.reason ?? '', /left behind/)
  })

  it('fails to start with the sentence of the child, or with how it ended', async t => {
    const misconfigured = supervised(t, 'misconfigured')
    await rejects(misconfigured.supervisor.start(), (error: ChildStartError) => {
      match(error.message, /^child 1 could not be started: .*a\.b = 1/s)
      equal(error.end.code, 2)
      return true
    })
    await rejects(supervised(t, 'die').supervisor.start(), /ended with exit code 7/)
    const missing = supervised(t, 'serve', { command: { module: '/nonexistent/module.ts', env: {} } })
    await rejects(missing.supervisor.start(), /ended with exit code 1/)
    match(missing.lines.join('\n'), /Cannot find module/)
    const nowhere = supervised(t, 'serve', { command: { module: MODULE, env: {}, cwd: '/nonexistent' } })
    await rejects(nowhere.supervisor.start(), /cannot be started/)
  })

  it('is killed when it is not ready in time', async t => {
    const { supervisor } = supervised(t, 'never', { readyTimeoutMs: 400 })
    const starting = supervisor.start()
    const pid = supervisor.pid!
    await rejects(starting, /was not ready within 400 ms/)
    equal(lives(pid), false)
  })

  it('has its start called off by a signal, and by a stop', async t => {
    const first = supervised(t, 'never')
    await rejects(first.supervisor.start(AbortSignal.timeout(100)), { name: 'TimeoutError' })
    const second = supervised(t, 'slow-start')
    const starting = rejects(second.supervisor.start(), ChildStartError)
    await until(() => second.lines.length > 0, 'its first line')
    await second.supervisor.stop(AbortSignal.timeout(3_000))
    await starting
    equal(second.supervisor.state, 'stopped')
    await rejects(supervisedStopped(t), /is stopped/)
  })

  it('is killed at the deadline of a stop, also when it is frozen', async t => {
    const { supervisor, crashes } = supervised(t, 'serve')
    await supervisor.start()
    const pid = supervisor.pid!
    process.kill(pid, 'SIGSTOP')
    const startMs = performance.now()
    await supervisor.stop(AbortSignal.timeout(200))
    ok(performance.now() - startMs < 1_000)
    equal(lives(pid), false)
    equal(crashes.length, 0, 'being stopped is no crash')
  })

  it('can be stopped while it waits for its restart', async t => {
    const { supervisor } = supervised(t, 'crash-soon')
    await supervisor.start()
    await until(() => supervisor.state === 'waiting', 'the wait')
    await supervisor.stop(AbortSignal.timeout(1_000))
    equal(supervisor.pid, undefined)
  })
})

function supervisedStopped(t: TestContext): Promise<unknown> {
  const { supervisor } = supervised(t, 'serve')
  return supervisor.stop(AbortSignal.abort()).then(() => supervisor.start())
}
