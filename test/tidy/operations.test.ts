/** Whatever chaos does to a cluster, and whatever it promises of the outcome, an operator can look up. */
import { deepEqual, equal, ok } from 'node:assert/strict'
import { copyFile, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { deployCluster, type Plan } from '@tributary/deploy'
import type { Kind } from '../../lab/chaos/clients.ts'
import { processesOf, type Fault } from '../../lab/chaos/fault.ts'
import { GAP_MS_MAX } from '../../lab/chaos/gap-bounds.ts'

const CHAPTER = '### In a cluster of machines'
const NEXT = '### In general'

/** What a row of the chapter calls each kind of fault. */
const KINDS: Readonly<Record<Fault['kind'], string>> = {
  kill: 'dies',
  freeze: 'frozen',
  restart: 'restarted',
  cut: 'cut off',
  power: 'loses its power',
  disk: 'disk of a brick is full',
  link: 'slow or lossy link',
  heal: 'full heal'
}
/** And each process that may be killed or frozen by itself. */
const PROCESSES: Readonly<Record<string, string>> = {
  tracker: 'tracker',
  id: 'ID server',
  storage: 'storage server',
  gateway: 'gateway',
  heal: '`tributary-heal`',
  'data worker': 'data worker',
  mount: 'client of a mount',
  brick: 'brick',
  glusterd: 'glusterd',
  mariadb: 'database node',
  keepalived: 'Keepalived',
  'redis-server': 'Redis primary',
  'redis-sentinel': 'Sentinel'
}
/** What clients do, in the words of the table of gaps. */
const GAPS: Readonly<Partial<Record<Kind, string>>> = {
  read: 'reads through the client library',
  upload: 'uploads through the client library',
  httpRead: 'reads over HTTP, by the virtual address',
  httpUpload: 'uploads over HTTP, by the virtual address',
  address: 'the virtual address answers `/healthz`'
}

/** First cells of the rows, one a line. */
async function chapter(): Promise<{ text: string; happened: string }> {
  const all = await readFile(new URL('../../docs/OPERATIONS.md', import.meta.url), 'utf8')
  const text = all.slice(all.indexOf(CHAPTER), all.indexOf(NEXT))
  const rows = text.split('\n').filter(line => line.startsWith('| '))
  return { text, happened: rows.map(row => row.split('|')[1]!.trim()).join('\n') }
}

async function planOf(layout: string): Promise<Plan> {
  const folder = await mkdtemp(join(tmpdir(), 'tributary-plan-'))
  try {
    const path = join(folder, `${layout}.toml`)
    const example = fileURLToPath(new URL(`../../deploy/examples/${layout}.toml`, import.meta.url))
    await copyFile(example, path)
    return (await deployCluster(path, join(folder, 'rendered'))).plan
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

describe('the chapter on what breaks', () => {
  it('has a row for every kind of fault that chaos knows', async () => {
    const { happened } = await chapter()
    deepEqual(
      Object.values(KINDS).filter(words => !happened.includes(words)),
      []
    )
  })

  for (const layout of ['three', 'wide']) {
    it(`has a row for every process of the layout ${layout} that chaos kills or freezes`, async () => {
      const plan = await planOf(layout)
      const { happened } = await chapter()
      const all = plan.hosts.flatMap(host => processesOf(host, plan))
      ok(all.length > 0)
      // A further storage server of a host has its group in its name.
      const names = new Set(all.map(({ what }) => (what.startsWith('storage-') ? 'storage' : what)))
      deepEqual(
        [...names].filter(name => !PROCESSES[name] || !happened.includes(PROCESSES[name])),
        []
      )
    })
  }

  it('says how long clients wait, in the numbers that chaos judges by', async () => {
    const { text } = await chapter()
    deepEqual(Object.keys(GAPS).sort(), Object.keys(GAP_MS_MAX).sort())
    for (const [kind, words] of Object.entries(GAPS)) {
      const row = text.split('\n').find(line => line.startsWith(`| ${words} |`))
      equal(row, `| ${words} | ${GAP_MS_MAX[kind as Kind]! / 1_000} s |`)
    }
  })
})
