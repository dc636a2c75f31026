/** VLC without a screen. */
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { runProgram } from './program.ts'

/** Debian's user for programs that own nothing: VLC refuses to run as root. */
const NOBODY = 65_534
const FLAGS = ['-I', 'dummy', '--vout', 'dummy', '--aout', 'dummy', '--no-color', '-vv', '--play-and-exit']

/**
 * Plays an address until it, or what `flags` say, ends.
 *
 * @returns what it logged, as much as -vv has it say
 */
export async function playInVlc(
  url: string,
  { flags = [], timeoutMs = 40_000 }: { flags?: readonly string[]; timeoutMs?: number } = {}
): Promise<string> {
  const home = await mkdtemp(join(tmpdir(), 'tributary-vlc-'))
  try {
    await chmod(home, 0o777)
    const env = { HOME: home, XDG_RUNTIME_DIR: home }
    const isRoot = process.getuid?.() === 0
    const options = { timeoutMs, cwd: home, env, ...(isRoot && { uid: NOBODY }) }
    const { stderr } = await runProgram('vlc', [...FLAGS, ...flags, url, 'vlc://quit'], options)
    return stderr
  } finally {
    await rm(home, { recursive: true, force: true })
  }
}
