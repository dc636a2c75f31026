/** Files that a configuration names: what stands in them counts, so they are read with it. */
import { readFileSync } from 'node:fs'

/** Larger configuration or secret files are surely something else. */
const FILE_BYTES_MAX = 1024 * 1024

/** A file and what stood in it when the configuration was read. Wherever a value is shown or logged, its path alone is. */
export class ConfigFile {
  readonly path: string
  readonly text: string
  constructor(path: string, text: string) {
    this.path = path
    this.text = text
  }

  toJSON(): string {
    return this.path
  }
}

/** @throws {Error} it cannot be read, or is too large. */
export function readBounded(path: string): string {
  const bytes = readFileSync(path)
  if (bytes.length > FILE_BYTES_MAX) throw new Error(`the file is larger than ${FILE_BYTES_MAX} bytes`)
  return bytes.toString('utf8').replace(/^\uFEFF/, '')
}
