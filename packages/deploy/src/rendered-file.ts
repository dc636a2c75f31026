/** A file to be written into the output folder. */
export interface RenderedFile {
  /** From the output folder, with `/`. */
  path: string
  text: string
  mode: number
}

export const PLAIN = 0o644
/** Holds a secret that a service reads as well. */
export const GROUP_ONLY = 0o640
export const SECRET = 0o600
export const SCRIPT = 0o755

/** @param path absolute, on the host. */
export function hostFile(host: string, path: string, text: string, mode = PLAIN): RenderedFile {
  return { path: `hosts/${host}${path}`, text, mode }
}
