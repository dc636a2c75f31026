/** Why a browser does not play a file, as keys of the strings. Knows nothing of the page, so that it can be tested. */

/** MediaError.code */
const ABORTED = 1
const NETWORK = 2
const DECODE = 3

export interface PlayedFile {
  mediaType: string
  name: string
  file: string
}

export type Hint =
  | 'hintMkv'
  | 'hintAvi'
  | 'hintMov'
  | 'hintTs'
  | 'hintWmv'
  | 'hintFlv'
  | 'hintMpeg'
  | 'hintMp4'
  | 'hintAudio'
  | 'hintOther'
export type Reason =
  | 'reasonMissing'
  | 'reasonAborted'
  | 'reasonNetwork'
  | 'reasonDecode'
  | 'reasonUnsupported'
  | 'reasonSoundOnly'
  | 'advice'

const HINTS: readonly (readonly [type: RegExp, name: RegExp, hint: Hint])[] = [
  [/matroska|webm/, /\.(mkv|mk3d)$/i, 'hintMkv'],
  [/x-msvideo|\/avi/, /\.(avi|divx)$/i, 'hintAvi'],
  [/quicktime/, /\.(mov|qt)$/i, 'hintMov'],
  [/mp2t/, /\.(ts|m2ts|mts)$/i, 'hintTs'],
  [/x-ms-|asf/, /\.(wmv|wma|asf)$/i, 'hintWmv'],
  [/x-flv/, /\.(flv|f4v)$/i, 'hintFlv'],
  [/video\/mpeg|x-mpeg$/, /\.(mpe?g|vob|m2v)$/i, 'hintMpeg'],
  [/mp4|m4v|3gpp/, /\.(mp4|m4v|3gp)$/i, 'hintMp4'],
  [/^audio\//, /\.(ac3|dts|ape|wv|mka|aiff?)$/i, 'hintAudio']
]

/** A name helps where the type says nothing. */
export function kindOf({ mediaType, name, file }: PlayedFile): 'video' | 'audio' | 'other' {
  const [major] = mediaType.split('/')
  if (major === 'video' || major === 'audio') return major
  if (mediaType === 'application/ogg') return 'audio'
  if (mediaType.startsWith('application/octet-stream')) {
    const shown = name || file
    if (/\.(mkv|avi|divx|mov|mp4|m4v|webm|ts|m2ts|mts|wmv|flv|mpe?g|vob|ogv|3gp)$/i.test(shown))
      return 'video'
    if (/\.(mp3|m4a|aac|ogg|opus|flac|wav|wma|ac3|dts|ape|mka|aiff?)$/i.test(shown)) return 'audio'
  }
  return 'other'
}

/** What kind of file it is, in a sentence. */
export function hintFor(played: PlayedFile): Hint | undefined {
  const shown = played.name || played.file
  // The name goes first: types are guessed, and a webm type on an .mkv name means Matroska.
  const byName = HINTS.find(([, pattern]) => pattern.test(shown))
  const byType = HINTS.find(([pattern]) => pattern.test(played.mediaType) && !/webm/.test(played.mediaType))
  return (byName ?? byType)?.[2] ?? (kindOf(played) === 'other' ? 'hintOther' : undefined)
}

/**
 * Sentences for a failure, most important first.
 *
 * @param errorCode   MediaError.code
 * @param httpStatus  of a request for the file made after the failure; 0: no answer.
 */
export function reasonsFor(played: PlayedFile, errorCode: number, httpStatus: number): (Reason | Hint)[] {
  if (httpStatus === 404 || httpStatus === 410) return ['reasonMissing']
  if (errorCode === ABORTED) return ['reasonAborted']
  if (errorCode === NETWORK || httpStatus === 0 || httpStatus >= 500) return ['reasonNetwork']
  const hint = hintFor(played)
  const reason = errorCode === DECODE ? 'reasonDecode' : 'reasonUnsupported'
  return hint ? [reason, hint, 'advice'] : [reason, 'advice']
}

const NAMES: Readonly<Record<string, string>> = {
  matroska: 'MKV',
  msvideo: 'AVI',
  quicktime: 'MOV',
  mpeg: 'MPEG',
  mp2t: 'MPEG-TS',
  plain: '',
  'ms-wmv': 'WMV'
}

/** "MP4" out of video/mp4; empty where there is nothing to tell. */
export function formatNameOf(mediaType: string): string {
  const [, minor = ''] = mediaType.split(';')[0]!.split('/')
  const plain = minor.replace(/^(x-|vnd\.)/, '').replace(/^octet-stream$/, '')
  return NAMES[plain] ?? plain.toUpperCase()
}
