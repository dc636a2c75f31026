/**
 * What `tributary upload --resume` has to know again after it was killed: a small file per upload, for its owner's eyes
 * only, in `$XDG_STATE_HOME/tributary/uploads`. Whoever has the id in it may go on with the upload.
 */
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { FileKey } from '@tributary/protocol'
import type { ClientSettings } from './client-settings.ts'
import type { Terminal } from './terminal.ts'

export interface UploadNote {
  version: 1
  path: string
  sizeBytes: number
  /** Of the file, UNIX milliseconds: another time is another content. */
  modifiedMs: number
  /** Of the upload. */
  id: string
  key: FileKey
}

export class UploadNotes {
  readonly #folder: string

  constructor({ homeFolder, port }: Pick<Terminal, 'homeFolder' | 'port'>) {
    const base = port.env['XDG_STATE_HOME'] || join(homeFolder, '.local', 'state')
    this.#folder = join(base, 'tributary', 'uploads')
  }

  /** The same command for the same file finds the same note. @param file id that was asked for, or ''. */
  nameOf({ trackers, application, user }: ClientSettings, path: string, file: string): string {
    const asked = JSON.stringify([trackers.toSorted(), application, user, file, path])
    return createHash('sha256').update(asked).digest('hex').slice(0, 32)
  }

  read(name: string): UploadNote | undefined {
    try {
      const note = JSON.parse(readFileSync(this.#pathOf(name), 'utf8')) as UploadNote
      return note.version === 1 ? note : undefined
    } catch {
      return undefined // none, or one that was cut short: the upload begins anew
    }
  }

  write(name: string, note: UploadNote): void {
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 })
    const path = this.#pathOf(name)
    writeFileSync(`${path}.new`, `${JSON.stringify(note)}\n`, { mode: 0o600 })
    renameSync(`${path}.new`, path)
  }

  remove(name: string): void {
    rmSync(this.#pathOf(name), { force: true })
  }

  #pathOf(name: string): string {
    return join(this.#folder, `${name}.json`)
  }
}
