/** Renditions that may be made of a film: how large, and how many bits they may take. */

export interface Profile {
  /** Part of the name of what is made: lower-case letters and digits. */
  name: string
  /** Of the picture's shorter side, in pixels. */
  height: number
  videoKbit: number
  audioKbit: number
}

export const PROFILES_MAX = 16
const KNOWN: readonly Profile[] = [
  { name: '1080p', height: 1080, videoKbit: 5_000, audioKbit: 160 },
  { name: '720p', height: 720, videoKbit: 2_800, audioKbit: 128 },
  { name: '480p', height: 480, videoKbit: 1_400, audioKbit: 128 },
  { name: '360p', height: 360, videoKbit: 800, audioKbit: 96 }
]
const NAMES = KNOWN.map(({ name }) => name).join(', ')
const EXPECTED = `${NAMES}, or name:height:video-kbit:audio-kbit, such as 540p:540:2000:128`

/** One entry of the configuration. @throws {Error} whose message says what was expected. */
export function parseProfile(text: string): Profile {
  const known = KNOWN.find(({ name }) => name === text)
  if (known) return known
  const [, name, ...numbers] = /^([a-z0-9]{1,16}):(\d{2,4}):(\d{2,6}):(\d{2,3})$/.exec(text) ?? []
  const [height = 0, videoKbit = 0, audioKbit = 0] = numbers.map(Number)
  // The encoder takes even numbers of lines only, and the narrowest sound that it makes well.
  if (name === undefined || height < 64 || height % 2 !== 0 || videoKbit < 50 || audioKbit < 32)
    throw new Error(EXPECTED)
  return { name, height, videoKbit, audioKbit }
}

export interface Picture {
  width: number
  height: number
  /** Whether browsers everywhere play it: H.264 of 8 bits. */
  playsEverywhere: boolean
}

/**
 * Those that make sense for a film: smaller than it; of one that does not play everywhere also the next size up, made as large as
 * the film and no larger.
 */
export function profilesFor(profiles: readonly Profile[], picture: Picture): Profile[] {
  const side = Math.min(picture.width, picture.height)
  const bySize = profiles.toSorted((a, b) => b.height - a.height)
  const smaller = bySize.filter(({ height }) => height < side)
  const same = picture.playsEverywhere ? undefined : bySize.findLast(({ height }) => height >= side)
  return same ? [same, ...smaller] : smaller
}

/** Width and height of the rendition: even numbers, the film's proportions, never larger than it. */
export function sizeFor(
  { height: side }: Profile,
  { width, height }: { width: number; height: number }
): { width: number; height: number } {
  const scale = Math.min(1, side / Math.min(width, height))
  const even = (pixels: number): number => Math.max(2, Math.round((pixels * scale) / 2) * 2)
  return { width: even(width), height: even(height) }
}
