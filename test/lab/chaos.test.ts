import { deepEqual, ok } from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { FilmDetails } from '@tributary/gateway/contract'
import { runChaos } from '../../lab/chaos/chaos-run.ts'
import { BRICK_DISK_BYTES } from '../../lab/chaos/disk-size.ts'
import { summaryOf } from '../../lab/chaos/report.ts'
import { Lab, ROOT } from '../../lab/lab.ts'
import { makeFilm, type Film } from '../testkit/film.ts'
import { missingPrograms } from '../testkit/service.ts'
import { noLab } from './no-lab.ts'
import { until } from './cluster-wait.ts'
import { Player } from './player.ts'

const skip = noLab() ?? false
const noPlayer = missingPrograms(['ffmpeg', 'chromium'])
const DESCRIPTION = fileURLToPath(new URL('../../deploy/examples/three.toml', import.meta.url))
const MINUTE_MS = 60_000
const CHAOS_MINUTES = 3
/** Its first rounds found an upload refused that was none, and descriptors that a member had lost for good. */
const SEED = 2
/** In two steps, each of which may stand still for a while: more than a browser has fetched ahead when its gateway dies. */
const PLAY_ON_S = 8
const FILM_PATH = '/files/media/players/film'

/**
 * When the address moves while an upload's answer is awaited, as it may where a machine is slow to start, nobody tells the
 * client, who sends nothing: so he gives up, and tries again. In all below what a command may take.
 */
const PATIENCE = ['-m', '17', '--retry', '2', '--retry-all-errors', '--retry-delay', '1']
const FACTS = ' status %{http_code}, sent %{size_upload} bytes to %{remote_ip} in %{time_total} s\\n'
const LAST_LINES = 15
const PICTURED_MS = 60_000

/** The run, and then healing and reckoning, which take as long as the machine needs. */
const CHAOS_MS_MAX = 9 * MINUTE_MS

describe('a cluster of three machines', { skip, timeout: 12 * MINUTE_MS }, () => {
  let lab: Lab
  let film: Film | undefined
  let drafts: string

  before(async () => {
    drafts = await mkdtemp(join(tmpdir(), 'tributary-chaos-'))
    const folder = join(ROOT, '.cache', 'lab', `chaos-test-${process.pid}`)
    // Hosts mostly wait for each other while they start: time enough for a film that nobody has made yet.
    const made = noPlayer ? undefined : makeFilm({ seconds: 60 })
    made?.catch(() => {}) // told below
    const description = join(drafts, 'locked.toml')
    await writeFile(description, locked(await readFile(DESCRIPTION, 'utf8')))
    lab = await Lab.up({ description, folder, brickDiskBytes: BRICK_DISK_BYTES })
    film = await made
  })
  after(async () => {
    await lab?.stop()
    await rm(drafts, { recursive: true, force: true })
  })

  it(
    'plays a film on when the host of its gateway dies, and when a storage host does',
    { skip: noPlayer },
    async t => {
      const { host, port } = lab.address('gateway')
      const url = `http://${host}:${port}${FILM_PATH}`
      const token = (await lab.hosts[0]!.run(['cat', '/etc/tributary/write-token'])).stdout.trim()
      const authorization = ['-H', `Authorization: Bearer ${token}`]
      const put = ['curl', '-sS', ...PATIENCE, '-w', FACTS, '-T', film!.path, ...authorization, url]
      const { stdout, stderr } = await lab.exec(put)
      const head = (await lab.exec(['curl', '-sS', '-I', '-m', '5', url])).stdout
      ok(/^HTTP\S+ 200 /.test(head), `${stdout}${stderr}\n${head}\n${await lastWords(lab)}`)
      await untilPictured(lab)
      const player = await Player.open(lab, url)
      try {
        const gateway = lab.host((await lab.ownerOf('gateway'))!)
        await gateway.kill()
        await player.playOn(PLAY_ON_S)
        const { currentTime } = await player.playOn(PLAY_ON_S)
        t.diagnostic(
          `${gateway.name}, which had the address, died; the film went on to ${currentTime.toFixed(1)} s`
        )
        await gateway.start()
        await lab.untilReady()
        const owner = await lab.ownerOf('gateway')
        const storage = lab.hosts.find(({ name }) => name !== owner && name !== gateway.name)!
        await storage.kill()
        const { currentTime: then } = await player.seek(45)
        t.diagnostic(`${storage.name} died; after a jump the film went on at ${then.toFixed(1)} s`)
        await storage.start()
        await lab.untilReady()
      } finally {
        await player.close()
      }
    }
  )

  it(`keeps every promise in ${CHAOS_MINUTES} minutes of chaos`, { timeout: CHAOS_MS_MAX }, async t => {
    const report = await runChaos(lab, { minutes: CHAOS_MINUTES, seed: SEED, layout: 'three' })
    for (const line of summaryOf(report).trimEnd().split('\n')) t.diagnostic(line)
    deepEqual(report.broken, [])
    ok(report.faults > 0 && report.ledger.stored > 0, 'there were faults, and files')
  })
})

/** The description with a key that programs prove to each other, and a worker on a host. */
function locked(description: string): string {
  const roles = 'roles = ["tracker", "id", "gateway", "database"]'
  const at = description.lastIndexOf(roles)
  ok(at > 0)
  const worker = roles.replace(']', ', "worker"]')
  return `${description.slice(0, at)}${worker}${description.slice(at + roles.length)}\n[wire]\ncluster_key = true\n`
}

/** The worker found the film by itself, and made what it makes. */
async function untilPictured(lab: Lab): Promise<void> {
  const { host, port } = lab.address('gateway')
  const url = `http://${host}:${port}/api/v1${FILM_PATH.replace('/files/', '/films/')}`
  let said = ''
  const isPictured = async (): Promise<boolean> => {
    said = (await lab.exec(['curl', '-sS', '-m', '2', url])).stdout
    const { film, thumbnails } = JSON.parse(said || '{}') as Partial<FilmDetails>
    return film?.facts === 'ready' && film.links.poster !== null && typeof thumbnails === 'string'
  }
  await until(isPictured, PICTURED_MS, () => said)
}

/** The end of what the programs of each host wrote, and who has the address: for a failure that nobody was there to see. */
async function lastWords(lab: Lab): Promise<string> {
  const units = ['tributary-gateway', 'tributary-tracker', 'tributary-storage', 'keepalived']
  const texts = lab.hosts.flatMap(host =>
    units.map(async unit => {
      const lines = (await host.logs(unit)).trimEnd().split('\n').slice(-LAST_LINES)
      return `── ${unit} of ${host.name}\n${lines.join('\n')}`
    })
  )
  return [`the address is at ${await lab.ownerOf('gateway')}`, ...(await Promise.all(texts))].join('\n')
}
