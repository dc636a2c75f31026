import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { describe, it } from 'node:test'
import {
  LATENCY_BOUNDS_MS,
  mergeSnapshots,
  MeterSum,
  Metrics,
  processPort,
  RequestMeter
} from '../src/index.ts'

describe('a request meter', () => {
  it('counts by command and outcome, and sorts latencies into buckets', () => {
    const meter = new RequestMeter(['JOIN', 'BEAT'])
    meter.record('JOIN', 'ok', 0.1)
    meter.record('JOIN', 'ok', 0.1001)
    meter.record('JOIN', 'BAD_FRAME', 1e9)
    meter.connectionOpened()
    meter.connectionOpened()
    meter.connectionClosed()
    meter.connectionRefused()
    meter.bytesReceived(2 ** 40)
    const { commands, ...rest } = meter.snapshot()
    deepEqual(commands['JOIN']?.outcomes, { ok: 2, BAD_FRAME: 1 })
    const buckets = commands['JOIN']!.buckets
    deepEqual(
      [buckets[0], buckets[1], buckets.at(-1), buckets.length],
      [1, 1, 1, LATENCY_BOUNDS_MS.length + 1]
    )
    deepEqual(commands['BEAT']?.outcomes, {})
    deepEqual(rest, {
      bytesReceived: 2 ** 40,
      bytesSent: 0,
      connectionsAccepted: 2,
      connectionsRefused: 1,
      connectionsOpen: 1
    })
  })

  it('counts a request with its bytes, and takes the connections of a server that counts them itself', () => {
    const meter = new RequestMeter(['JOIN'])
    meter.observe('JOIN', 'ok', 1, 171, 10)
    meter.observe('JOIN', 'ok', 1, 171, 10)
    const { commands, ...rest } = meter.snapshot({ accepted: 5, refused: 2, open: 3 })
    deepEqual(commands['JOIN']?.outcomes, { ok: 2 })
    deepEqual(rest, {
      bytesReceived: 342,
      bytesSent: 20,
      connectionsAccepted: 5,
      connectionsRefused: 2,
      connectionsOpen: 3
    })
  })

  it('stays bounded when outcomes and commands are made up by a peer', () => {
    const meter = new RequestMeter<string>(['JOIN'])
    for (let i = 0; i < 10_000; i++) meter.record('JOIN', `E${i}`, 1)
    meter.record('toString', 'ok', 1)
    const { commands } = meter.snapshot()
    const counts = Object.values(commands['JOIN']!.outcomes)
    ok(counts.length <= 64)
    equal(
      counts.reduce((a, b) => a + b),
      10_000
    )
    equal(commands['other']?.outcomes['ok'], 1)
  })

  it('costs less than 100 ns a sample', t => {
    const commands = ['JOIN', 'BEAT', 'SADDRS', 'GROUPS', 'HELLO', 'LOAD'] as const
    const meter = new RequestMeter(commands)
    const outcomes = ['ok', 'ok', 'ok', 'UNKNOWN_FILE']
    const SAMPLES = 500_000
    let bestNs = Infinity
    for (let round = 0; round < 5; round++) {
      const startMs = performance.now()
      for (let i = 0; i < SAMPLES; i++) meter.record(commands[i % 6]!, outcomes[i & 3]!, (i & 1023) / 50)
      bestNs = Math.min(bestNs, ((performance.now() - startMs) * 1e6) / SAMPLES)
    }
    t.diagnostic(`one sample costs ${bestNs.toFixed(1)} ns (best of 5 rounds of ${SAMPLES})`)
    ok(bestNs < 100, `${bestNs} ns`)
  })
})

describe('the sum of several workers', () => {
  it('never falls when a worker is replaced, but for the open connections', () => {
    const sum = new MeterSum()
    for (const worker of [1, 2]) {
      const meter = new RequestMeter(['UPLOAD'])
      meter.record('UPLOAD', worker === 1 ? 'ok' : 'DISK_FULL', 3)
      meter.connectionOpened()
      sum.update(worker, structuredClone(meter.snapshot()))
    }
    const before = sum.snapshot()
    sum.retire(1)
    sum.retire(1)
    const after = sum.snapshot()
    deepEqual(after.commands, before.commands)
    deepEqual(after.commands['UPLOAD']?.outcomes, { ok: 1, DISK_FULL: 1 })
    deepEqual([before.connectionsOpen, after.connectionsOpen, after.connectionsAccepted], [2, 1, 2])
    deepEqual(mergeSnapshots([]).commands, {})
  })
})

describe('metrics in text', () => {
  it('expose a meter as Prometheus wants it', async () => {
    const meter = new RequestMeter(['UPLOAD', 'SIZE'])
    meter.record('UPLOAD', 'ok', 2)
    meter.record('UPLOAD', 'DISK_FULL', 40)
    meter.bytesSent(5)
    const metrics = new Metrics('storage')
    metrics.addMeter(() => meter.snapshot())
    await metrics.text()
    const text = await metrics.text()
    const has = (line: string): void => ok(text.split('\n').includes(line), `${line}\nnot in\n${text}`)
    has('tributary_storage_requests_total{command="UPLOAD",outcome="ok"} 1')
    has('tributary_storage_requests_total{command="UPLOAD",outcome="DISK_FULL"} 1')
    has('tributary_storage_requests_total{command="SIZE",outcome="ok"} 0')
    has('# TYPE tributary_storage_request_duration_seconds histogram')
    has('tributary_storage_request_duration_seconds_bucket{le="0.001",command="UPLOAD"} 0')
    has('tributary_storage_request_duration_seconds_bucket{le="0.0025",command="UPLOAD"} 1')
    has('tributary_storage_request_duration_seconds_bucket{le="+Inf",command="UPLOAD"} 2')
    has('tributary_storage_request_duration_seconds_sum{command="UPLOAD"} 0.042')
    has('tributary_storage_request_duration_seconds_count{command="UPLOAD"} 2')
    has('tributary_storage_sent_bytes_total 5')
    has('tributary_storage_connections_open 0')
  })

  it('read gauges when asked, with labels that come and go', async () => {
    const metrics = new Metrics('tracker')
    let members = ['a', 'b']
    metrics.gauge(
      'heartbeat_age_seconds',
      'Since the last heartbeat',
      () => members.map((member, i) => ({ labels: { member }, value: i + 0.5 })),
      ['member']
    )
    match(await metrics.text(), /tributary_tracker_heartbeat_age_seconds\{member="b"\} 1\.5/)
    members = ['a']
    const text = await metrics.text()
    match(text, /member="a"\} 0\.5/)
    ok(!text.includes('member="b"'))
  })

  it('tell about the process', async () => {
    const metrics = new Metrics('id')
    const end = metrics.addProcess(processPort(process))
    const text = await metrics.text()
    end()
    for (const name of [
      'process_resident_memory_bytes',
      'process_cpu_seconds_total',
      'process_start_time_seconds'
    ]) {
      const value = Number(new RegExp(`^${name} (.+)$`, 'm').exec(text)?.[1])
      ok(value > 0, `${name} ${value}`)
    }
    match(text, /nodejs_eventloop_lag_seconds\{quantile="0\.99"\} \d/)
  })
})
