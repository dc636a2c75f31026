/** From the file of a description to the folder of a rendering. */
import { randomBytes } from 'node:crypto'
import { open, readFile, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, resolve } from 'node:path'
import { checkCluster, checkNeighbours } from './cluster-check.ts'
import type { Description } from './description.ts'
import { readDescription } from './description-reader.ts'
import { DescriptionError, type Finding } from './finding.ts'
import { changesBetween } from './group-changes.ts'
import { OutputFolder, type Written } from './output-folder.ts'
import { readPlan } from './plan-reader.ts'
import type { Plan } from './plan.ts'
import { SCRIPT, SECRET, type RenderedFile } from './rendered-file.ts'
import { renderCluster } from './rendering.ts'
import { readSecrets, secretsText, type Secrets } from './secrets.ts'

/** A larger description is surely something else. */
const FILE_BYTES_MAX = 1024 * 1024
const CHANGES = 'changes'

export interface Checked {
  description: Description
  findings: Finding[]
}

export interface Rendered {
  plan: Plan
  findings: Finding[]
  written: Written
  /** Scripts in changes/ that nobody has deleted yet, new ones last. */
  scripts: string[]
  /** What to do about what changed, a sentence each. */
  notes: string[]
  /** Path of the secrets file, if it was written now. */
  secretsFile: string | undefined
}

/**
 * Checks descriptions, each by itself and all against each other.
 *
 * @param paths  absolute.
 * @throws what reading a file throws.
 */
export async function checkDescriptions(
  paths: readonly string[]
): Promise<{ path: string; findings: Finding[] }[]> {
  const checked = await Promise.all(paths.map(async path => ({ path, ...(await checkDescription(path)) })))
  const neighbours = checkNeighbours(
    checked.map(({ path, description }) => ({ source: basename(path), description }))
  )
  return [
    ...checked.map(({ path, findings }) => ({ path, findings })),
    ...(neighbours.length > 0 ? [{ path: '', findings: neighbours }] : [])
  ]
}

/**
 * Renders a description into a folder, and compares with what was rendered there before.
 *
 * @param path    of the description, absolute.
 * @param folder  absolute; made when it is not there.
 * @throws {DescriptionError}  nothing was written.
 * @throws {ForeignFileError}  nothing was written but the secrets.
 */
export async function deployCluster(path: string, folder: string): Promise<Rendered> {
  const { description, findings } = await checkDescription(path)
  const errors = findings.filter(({ severity }) => severity === 'error')
  if (errors.length > 0) throw new DescriptionError(path, errors)
  const { secrets, secretsFile } = await openSecrets(path, description)
  const { plan, files } = renderCluster(description, secrets)

  const output = new OutputFolder(folder)
  const before = await output.read('plan.json')
  const { scripts, notes, refused } =
    before === undefined
      ? { scripts: [], notes: [], refused: [] }
      : changesBetween(readPlan(before), plan, await output.differing(files))
  // Were it written, the next rendering would take it for what is there.
  if (refused.length > 0) throw new DescriptionError(path, refused)
  const pending = (await output.list(CHANGES)).filter(name => /^\d{2,}-.*\.sh$/.test(name))
  const last = Math.max(0, ...pending.map(name => Number.parseInt(name, 10)))
  const changeFiles = scripts.map(({ file, text }, at): RenderedFile => ({
    path: `${CHANGES}/${String(last + at + 1).padStart(2, '0')}-${file}`,
    text,
    mode: SCRIPT
  }))
  // Those of earlier renderings stay until somebody has run and deleted them: nobody would write them again.
  const written = await output.write([...files, ...changeFiles], path => path.startsWith(`${CHANGES}/`))
  return {
    plan,
    findings,
    written,
    scripts: [...pending.map(name => `${CHANGES}/${name}`), ...changeFiles.map(({ path }) => path)],
    notes: [...scripts.map(({ summary }) => summary), ...notes],
    secretsFile
  }
}

async function checkDescription(path: string): Promise<Checked> {
  const { description, findings } = readDescription(await readBounded(path))
  const isReadable = !findings.some(({ key }) => key === 'file')
  return { description, findings: isReadable ? [...findings, ...checkCluster(description)] : findings }
}

async function openSecrets(
  path: string,
  description: Description
): Promise<{ secrets: Secrets; secretsFile: string | undefined }> {
  const name =
    description.secrets === '' ? `${basename(path).replace(/\.toml$/, '')}.secrets.toml` : description.secrets
  const file = resolve(dirname(path), name)
  let text: string | undefined
  try {
    const { mode } = await stat(file)
    if ((mode & 0o077) !== 0) {
      const expected = `a file that only its owner may read: chmod 600 ${file}`
      throw new DescriptionError(path, [{ severity: 'error', key: 'cluster.secrets', value: file, expected }])
    }
    text = await readBounded(file)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  const { secrets, made, findings } = readSecrets(text, randomBytes)
  if (findings.length > 0) throw new DescriptionError(file, findings)
  if (made.length === 0) return { secrets, secretsFile: undefined }
  const temporary = `${file}.new`
  await rm(temporary, { force: true })
  const handle = await open(temporary, 'wx', SECRET)
  try {
    await handle.writeFile(secretsText(secrets))
    await handle.sync()
  } finally {
    await handle.close()
  }
  await rename(temporary, file)
  return { secrets, secretsFile: file }
}

async function readBounded(path: string): Promise<string> {
  const { size } = await stat(path)
  if (size > FILE_BYTES_MAX) throw new Error(`${path} is larger than ${FILE_BYTES_MAX} bytes`)
  return (await readFile(path, 'utf8')).replace(/^\uFEFF/, '')
}
