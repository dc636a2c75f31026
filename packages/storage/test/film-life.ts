/** What a client does with a film from its first byte to its end, each step of which may be asked for again. */
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import type { Database, FileRow } from '@tributary/database'
import { TributaryError } from '@tributary/protocol'
import { Deletion } from '../src/deletion.ts'
import { findExisting } from '../src/existing-file.ts'
import { PartUploads } from '../src/part-uploads.ts'
import { Trash } from '../src/trash.ts'
import { keyOf, labels, openParts, type Parts } from './parts.ts'

export const FILM_BYTES = 3_000_000
const HALF_BYTES = FILM_BYTES / 2
/** The same in every process. */
export const FILM = Buffer.from(
  Uint8Array.from({ length: FILM_BYTES }, (_, at) => (at * 31 + (at >> 9)) & 255)
)
export const UNTIL_MS = 4_000_000_000_000
const KEEP_MS = 600_000
const id = (digit: string): string => digit.repeat(32)
/** Of the film, of an upload that is given up, of the parts and of what they are joined to. */
const IDS = { film: id('1'), given: id('2'), parts: [id('3'), id('4')] as const, joined: id('5') }

export interface Life extends Parts {
  uploads: PartUploads
  trash: Trash
}

/** @param watched Given the index as a storage server has it; gives what is used instead. */
export async function openLife(
  t: Pick<TestContext, 'after'>,
  folder: string,
  watched: (parts: Parts) => Pick<Database, 'files' | 'uploads'> = ({ database }) => database
): Promise<Life> {
  const parts = await openParts(t as TestContext, { folder })
  const { store, files: open } = parts
  const { files: index, uploads } = watched(parts)
  const stores = new Map([[store.uuid, store]])
  const deletion = new Deletion(index, stores, open)
  return {
    ...parts,
    deletion,
    trash: new Trash(index, stores, open, () => undefined),
    uploads: new PartUploads({
      uploads,
      index,
      stores,
      choose: () => ({ store }),
      findExisting: (key, said, sizeBytes) => findExisting({ index, deletion }, key, said, sizeBytes),
      keepMs: KEEP_MS,
      releaseWaitMs: 0
    })
  }
}

export const STEPS: { name: string; run: (life: Life) => Promise<unknown> }[] = [
  { name: 'begin', run: life => begin(life, IDS.film, 'film') },
  { name: 'half', run: life => send(life, IDS.film, FILM.subarray(0, HALF_BYTES)) },
  { name: 'whole', run: life => send(life, IDS.film, FILM) },
  { name: 'commit', run: ({ uploads }) => uploads.commit(IDS.film) },
  {
    name: 'given',
    run: life => begin(life, IDS.given, 'given').then(() => send(life, IDS.given, FILM.subarray(0, 9)))
  },
  { name: 'abort', run: ({ uploads }) => unlessGone(uploads.abort(IDS.given)) },
  { name: 'trash', run: life => setTrashed(life, UNTIL_MS) },
  { name: 'restore', run: life => setTrashed(life, 0) },
  { name: 'trash again', run: life => setTrashed(life, UNTIL_MS + 1) },
  { name: 'part 0', run: life => sendPart(life, 0) },
  { name: 'part 1', run: life => sendPart(life, 1) },
  {
    name: 'join',
    run: life =>
      begin(life, IDS.joined, 'joined', IDS.parts.join('')).then(() => life.uploads.commit(IDS.joined))
  },
  {
    name: 'purge',
    run: async ({ database, deletion }) => {
      const row = await database.files.find(keyOf('film'), { causal: true })
      if (row) await unlessGone(deletion.delete(keyOf('film'), row.generation, true))
    }
  }
]

/** What was promised once so many steps have succeeded. @returns what of it does not hold */
export async function brokenPromises(life: Life, steps: number): Promise<string[]> {
  const has = (name: string): boolean => STEPS.findIndex(step => step.name === name) < steps
  const broken: string[] = []
  const check = (what: string, holds: boolean | undefined): void => {
    if (!holds) broken.push(what)
  }
  const { database } = life
  const film = await database.files.find(keyOf('film'), { causal: true })
  if (has('begin') && !has('commit')) {
    const { offsetBytes } = await life.uploads.status(IDS.film)
    check('half of it is there', !has('half') || offsetBytes >= HALF_BYTES)
    check('all of it is there', !has('whole') || offsetBytes === FILM_BYTES)
  }
  const isNext = (name: string): boolean => STEPS[steps]?.name === name
  if (has('commit') && !has('purge') && !isNext('purge')) {
    check('the film is as it was sent', film && (await isWhole(life, film)))
    const mayBe = [has('trash again') ? 'trashed' : has('restore') || !has('trash') ? 'stored' : 'trashed']
    for (const [name, state] of [
      ['trash', 'trashed'],
      ['restore', 'stored'],
      ['trash again', 'trashed']
    ] as const)
      if (isNext(name)) mayBe.push(state)
    check(`it is ${mayBe.join(' or ')}`, film && mayBe.includes(film.state))
  }
  if (has('purge')) check('it is gone', film === undefined)
  if (has('join')) {
    const joined = await database.files.find(keyOf('joined'), { causal: true })
    check('what was joined is as it was sent', joined && (await isWhole(life, joined)))
  }
  return broken
}

async function isWhole({ root }: Life, row: FileRow): Promise<boolean> {
  const { readFile } = await import('node:fs/promises')
  return (await readFile(join(root, row.path))).equals(FILM)
}

function begin({ uploads }: Life, upload: string, file: string, joins?: string) {
  const request = { ...keyOf(file), id: upload, sizeBytes: FILM_BYTES, ...(joins && { joins }) }
  return uploads.begin(request, labels())
}

async function sendPart(life: Life, part: 0 | 1): Promise<void> {
  const { application, user } = keyOf('')
  const where = { whole: 'whole', part, parts: 2, totalBytes: FILM_BYTES }
  await life.uploads.begin(
    { application, user, id: IDS.parts[part], sizeBytes: HALF_BYTES, ...where },
    labels()
  )
  await send(life, IDS.parts[part], FILM.subarray(part * HALF_BYTES, (part + 1) * HALF_BYTES))
}

async function send({ uploads }: Life, upload: string, bytes: Buffer): Promise<void> {
  const { offsetBytes } = await uploads.status(upload)
  const rest = bytes.subarray(offsetBytes)
  if (rest.byteLength === 0) return
  await uploads.append(
    { id: upload, offsetBytes, fence: 0 },
    {
      lengthBytes: rest.byteLength,
      read: async taker => {
        for (let at = 0; at < rest.byteLength; at += 500_000)
          await taker(Buffer.from(rest.subarray(at, at + 500_000)))
      }
    }
  )
}

async function setTrashed({ database, trash }: Life, untilMs: number): Promise<void> {
  const { generation } = (await database.files.find(keyOf('film'), { causal: true }))!
  await trash.set(keyOf('film'), generation, untilMs)
}

/** Asked for again, what was done already is not there any more. */
async function unlessGone(asked: Promise<unknown>): Promise<void> {
  try {
    await asked
  } catch (error) {
    const code = error instanceof TributaryError ? error.code : ''
    if (code !== 'FILE_NOT_FOUND' && code !== 'UPLOAD_NOT_FOUND') throw error
  }
}
