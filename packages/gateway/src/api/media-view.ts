/** Media facts as the API shows them, of the JSON that the library keeps. */
import type { FilmDetails } from '../contract/index.ts'

type Media = NonNullable<FilmDetails['media']>

/** What is kept is ours; of a newer program it may say more, of an older one less. */
export function mediaOf(
  facts: string | undefined,
  state: 'pending' | 'ready' | 'none'
): Pick<FilmDetails, 'media' | 'notStreamable'> {
  if (facts === undefined) {
    return { media: null, notStreamable: state === 'none' ? 'this is no film that can be read' : null }
  }
  const {
    container = '',
    durationS = 0,
    bitRate = 0,
    tracks = [],
    tags = {},
    notPackageable
  } = JSON.parse(facts) as Partial<Media & { notPackageable: string }>
  return { media: { container, durationS, bitRate, tracks, tags }, notStreamable: notPackageable ?? null }
}
