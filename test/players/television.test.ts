import { equal, ok } from 'node:assert/strict'
import { openAsBlob } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { Agent, request, type IncomingMessage } from 'node:http'
import { connect } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { makeFilm } from '../testkit/film.ts'
import { startPlayableCluster, type PlayableCluster } from '../testkit/gateway.ts'
import { missingPrograms } from '../testkit/service.ts'

const skip = missingPrograms(['ffmpeg'])

const SMALL_BYTES = 32 * 1024

/** What televisions and set-top boxes were seen to do: they ask first, read in small steps and hang up in the middle. */
describe('a television', { skip, timeout: 60_000 }, () => {
  let system: PlayableCluster
  let film: Buffer
  let url: string

  before(async () => {
    const { path } = await makeFilm({ seconds: 6, kind: 'index-at-end' })
    film = await readFile(path)
    system = await startPlayableCluster()
    url = system.urlOf('Kinofilm am Abend.mp4')
    equal((await fetch(url, { method: 'PUT', body: await openAsBlob(path) })).status, 201)
  })
  after(() => system?.stop())

  it('asks by HEAD for length and type before it plays', async () => {
    const { status, headers } = await fetch(url, { method: 'HEAD', headers: { Range: 'bytes=0-' } })
    equal(status, 200)
    equal(headers.get('content-length'), String(film.byteLength))
    equal(headers.get('content-type'), 'video/mp4')
    equal(headers.get('accept-ranges'), 'bytes')
  })

  it('reads the film in small ranges over one connection', async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    const ports = new Set<number | undefined>()
    const pieces: Buffer[] = []
    for (let start = 0; start < film.byteLength; start += SMALL_BYTES) {
      const answer = await get(url, { Range: `bytes=${start}-${start + SMALL_BYTES - 1}` }, agent)
      equal(answer.statusCode, 206)
      ports.add(answer.socket.localPort)
      pieces.push(await bodyOf(answer))
    }
    agent.destroy()
    equal(ports.size, 1)
    ok(film.equals(Buffer.concat(pieces)))
  })

  it('hangs up in the middle and opens again where it was, many times', async () => {
    const pieces: Buffer[] = []
    let reached = 0
    let openings = 0
    while (reached < film.byteLength) {
      const answer = await get(url, { Range: `bytes=${reached}-`, Connection: 'close' })
      openings++
      equal(answer.statusCode, 206)
      equal(answer.headers['content-range'], `bytes ${reached}-${film.byteLength - 1}/${film.byteLength}`)
      let taken = 0
      for await (const chunk of answer as AsyncIterable<Buffer>) {
        pieces.push(chunk)
        taken += chunk.byteLength
        if (taken >= 100_000) break // leaving the loop destroys the connection
      }
      reached += taken
    }
    ok(openings > 8, `${openings}`)
    ok(film.equals(Buffer.concat(pieces)))
  })

  it('jumps between the index at the end and the pictures, hanging up each time', async () => {
    for (let round = 0; round < 40; round++) {
      const start = round % 2 === 0 ? film.byteLength - 30_000 - round : round * 5_000
      const answer = await get(url, { Range: `bytes=${start}-`, 'transferMode.dlna.org': 'Streaming' })
      equal(answer.statusCode, 206)
      const [first] = await take(answer, 1)
      ok(film.subarray(start, start + first!.byteLength).equals(first!))
    }
    await settled(system)
  })

  it('speaks HTTP/1.0 and takes the end of the connection for the end of the film', async () => {
    const { pathname, port, hostname } = new URL(url)
    const socket = connect(Number(port), hostname)
    socket.write(`GET ${pathname} HTTP/1.0\r\nRange: bytes=2000000-\r\n\r\n`)
    const chunks: Buffer[] = []
    for await (const chunk of socket as AsyncIterable<Buffer>) chunks.push(chunk)
    const answer = Buffer.concat(chunks)
    const at = answer.indexOf('\r\n\r\n')
    ok(/^HTTP\/1\.[01] 206 /.test(answer.toString('latin1', 0, at)))
    ok(film.subarray(2_000_000).equals(answer.subarray(at + 4)))
  })

  it('stops reading for a while in the middle, and goes on', async () => {
    const answer = await get(url, {})
    const [first] = await take(answer, 1, false)
    answer.pause()
    await new Promise(resolve => setTimeout(resolve, 1_500))
    const rest = await bodyOf(answer)
    ok(film.equals(Buffer.concat([first!, rest])))
  })
})

function get(url: string, headers: Record<string, string>, agent?: Agent): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    request(url, { headers, agent: agent ?? false })
      .once('response', resolve)
      .once('error', reject)
      .end()
  })
}

async function bodyOf(answer: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of answer as AsyncIterable<Buffer>) chunks.push(chunk)
  return Buffer.concat(chunks)
}

/** The first chunks; then it hangs up, unless told to stay. */
async function take(answer: IncomingMessage, count: number, hangUp = true): Promise<Buffer[]> {
  const chunks: Buffer[] = []
  for await (const chunk of answer.iterator({ destroyOnReturn: hangUp }) as AsyncIterable<Buffer>) {
    chunks.push(chunk)
    if (chunks.length === count) break
  }
  return chunks
}

/** Nothing of those who hung up is left: the gateway closes what it opened for them. */
async function settled(system: PlayableCluster): Promise<void> {
  const endMs = performance.now() + 5_000
  for (;;) {
    const text = await (await fetch(`${system.url}/metrics`)).text()
    const open = Number(/^\w*connections_open(?:\{[^}]*\})? (\d+)$/m.exec(text)?.[1] ?? Number.NaN)
    if (open <= 3) return // fetch keeps connections of its own
    if (performance.now() > endMs) throw new Error(`${open} connections are still open`)
    await new Promise(resolve => setTimeout(resolve, 50))
  }
}
