import { equal, match, ok } from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { describe, it, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import {
  createLog,
  formatLogLine,
  LogThrottle,
  ManualClock,
  redactText,
  silentLog,
  type LogOptions
} from '../src/index.ts'

function logInto(lines: string[], options: Partial<LogOptions> = {}) {
  return createLog({ name: 'tracker', destination: { write: line => lines.push(line) }, ...options })
}

describe('a log', () => {
  it('writes one JSON object a line, with the fields of its ancestors', () => {
    const lines: string[] = []
    logInto(lines).child({ group: 'g1' }).child({ port: 1 }).info({ files: 3 }, 'joined')
    const { level, name, msg, group, port, files, time } = JSON.parse(lines[0]!) as Record<string, unknown>
    equal(JSON.stringify([level, name, msg, group, port, files]), '["info","tracker","joined","g1",1,3]')
    ok(!Number.isNaN(Date.parse(time as string)))
  })

  it('changes its level while it is in use, and that of those made from it', () => {
    const lines: string[] = []
    const log = logInto(lines, { level: 'error' })
    const child = log.child({ port: 1 })
    const say = (): void => {
      log.info('parent')
      child.info('child')
    }
    say()
    log.setLevel('info')
    say()
    log.setLevel('silent')
    say()
    equal(lines.map(line => (JSON.parse(line) as { msg: string }).msg).join(' '), 'parent child')
  })

  it('keeps quiet below its level', () => {
    const lines: string[] = []
    const log = logInto(lines, { level: 'warn' })
    log.info('no')
    log.debug('no')
    log.error('yes')
    equal(lines.length, 1)
    silentLog().fatal('nothing')
  })

  it('takes secrets out at any depth, out of messages and out of errors', () => {
    const lines: string[] = []
    const log = logInto(lines)
    log.info(
      { a: { b: { writeToken: 'hunter2', tokens: ['hunter2'] } }, password: 'hun"ter2', pin_secret: 12345 },
      'x'
    )
    log.warn(
      'cannot reach mysql://root:hunter2@db:3306/x, redis://:hunter2@r and http://h/?a=1&token=hunter2&b'
    )
    log.error({ err: new Error('GET with Authorization: Bearer hunter2hunter2') }, 'y')
    for (const line of lines) {
      JSON.parse(line)
      ok(!/hunter2|ter2|12345/.test(line), line)
    }
    match(lines[1]!, /mysql:\/\/\[redacted\]@db:3306/)
  })

  it('leaves harmless text as it is', () => {
    for (const text of ['http://host/a@b', 'user@example.org', 'a://b', 'token bucket', '12:30:01 x'])
      equal(redactText(text), text)
  })

  it('redacts a long hostile line in a moment', () => {
    const startMs = performance.now()
    for (const piece of ['a', 'a://', '@', '"', 'Bearer ', 'a://@', '"token":"', '\\'])
      redactText(piece.repeat(60_000))
    const lines: string[] = []
    for (const piece of ['a', '"', '"a', 'token', '"token":"']) logInto(lines).info(piece.repeat(60_000))
    const tookMs = performance.now() - startMs
    ok(tookMs < 2_000, `${tookMs} ms`)
  })

  it('is short and readable on a terminal, and lets no peer move its cursor', () => {
    const lines: string[] = []
    logInto(lines, { format: 'pretty' }).warn({ peer: 'a\u001b[2J', n: 1 }, 'bad\r\nframe')
    ok(!lines[0]!.slice(0, -1).includes('\n'))
    ok(!lines[0]!.includes('\u001b[2J'))
    const plain = formatLogLine(
      '{"level":"warn","time":"2026-11-02T10:00:00.005Z","name":"t","msg":"m","a":1}',
      { colour: false }
    )
    match(plain, /^\d\d:\d\d:00\.005 WARN {2}t m a=1\n$/)
    equal(formatLogLine('not JSON'), 'not JSON\n')
    equal(formatLogLine('null'), 'null\n')
    match(
      formatLogLine('{"level":"error","msg":"m","err":{"stack":"Error: x\\n  at y"}}', { colour: false }),
      /\n {4}Error: x\n {6}at y/
    )
  })
})

describe('the output of a log', { timeout: 30_000 }, () => {
  const INDEX = fileURLToPath(new URL('../src/index.ts', import.meta.url))
  const noisy = (t: TestContext) => {
    const code = `import { createLog, processPort } from ${JSON.stringify(INDEX)}
      processPort(process)
      const log = createLog({ name: 'noisy' })
      for (let i = 0; i < 4000; i++) log.info({ i }, 'x'.repeat(1000))
      console.log('done')
      process.stdin.once('data', () => { log.info('last'); log.flush(); process.exit(0) })`
    const child = spawn(process.execPath, ['--input-type=module', '-e', code])
    t.after(() => child.kill('SIGKILL'))
    return child
  }

  it('does not hold up the server when its reader is slow, and says what was left out', async t => {
    const child = noisy(t)
    await once(child.stdout, 'data')
    let text = ''
    child.stderr.on('data', chunk => (text += String(chunk)))
    while (!text.includes('too slow')) await sleep(10)
    child.stdin.write('x')
    const [code] = (await once(child, 'close')) as [number]
    equal(code, 0)
    const lines = text
      .trimEnd()
      .split('\n')
      .map(line => JSON.parse(line) as { msg: string; lines?: number })
    const leftOut = lines.reduce((sum, line) => sum + (line.lines ?? 0), 0)
    equal(lines.length - 2 + leftOut, 4_000)
    equal(lines.at(-1)?.msg, 'last')
  })

  it('does not end or hang the server when its reader is gone', async t => {
    const child = noisy(t)
    child.stderr.destroy()
    await once(child.stdout, 'data')
    child.stdin.write('x')
    const [code] = (await once(child, 'exit')) as [number]
    equal(code, 0)
  })
})

describe('a throttle on warnings', () => {
  it('says the first at once and then how many were left out', async () => {
    const lines: string[] = []
    const clock = new ManualClock()
    const throttle = new LogThrottle(logInto(lines), { clock, intervalMs: 1_000 })
    for (let i = 0; i < 1_000; i++) throttle.warn('peer a', { i }, 'bad frame')
    equal(lines.length, 1)
    await clock.advance(1_000)
    throttle.warn('peer a', {}, 'bad frame')
    match(lines[1]!, /"suppressed":999/)
  })

  it('bounds the lines of many keys together, and says so', async () => {
    const lines: string[] = []
    const clock = new ManualClock()
    const throttle = new LogThrottle(logInto(lines), { clock, intervalMs: 1_000, linesMax: 10, keysMax: 5 })
    for (let i = 0; i < 10_000; i++) throttle.warn(`peer ${i}`, {}, 'bad frame')
    equal(lines.length, 10)
    await clock.advance(1_000)
    throttle.warn('peer a', {}, 'bad frame')
    match(lines[10]!, /"suppressed":9990/)
    equal(lines.length, 12)
  })
})
