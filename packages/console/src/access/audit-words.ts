/** What the entries of the audit log call things, in words. */
import type { Strings } from '../strings/en.ts'

type Deed = keyof Strings['deeds']

const FILM = '/api/v1/films…'
/** By method and path, as gateways note them, or by what the command notes. The first that fits counts. */
const DEEDS: readonly (readonly [RegExp, Deed])[] = [
  [/^(PUT|POST) \/files/, 'store'],
  [/^DELETE \/files/, 'deleteForGood'],
  [/^(GET|HEAD) \/files/, 'read'],
  [/^(GET|HEAD) \/(hls|dash)/, 'play'],
  [/^(GET|HEAD) \/(poster|thumbnails|subtitles)/, 'read'],
  [/^POST \/uploads/, 'beginUpload'],
  [/^(PATCH|HEAD) \/uploads/, 'goOnUpload'],
  [/^DELETE \/uploads/, 'giveUpUpload'],
  [filmDeed('DELETE', ''), 'trash'],
  [filmDeed('PATCH', ''), 'rename'],
  [filmDeed('POST', '/restore'), 'restore'],
  [filmDeed('PUT|DELETE', '/poster'), 'poster'],
  [filmDeed('PUT|DELETE', '/subtitles'), 'subtitles'],
  [filmDeed('POST', '/signature'), 'sign'],
  [filmDeed('POST', '/shares'), 'share'],
  [filmDeed('POST', '/jobs'), 'job'],
  [/^(GET|HEAD) \/api\/v1\/films…/, 'facts'],
  [/^GET \/api\/v1\/films/, 'list'],
  [/^DELETE \/api\/v1\/trash/, 'emptyTrash'],
  [/^(POST|DELETE) \/api\/v1\/jobs/, 'job'],
  [/^POST \/api\/v1\/session/, 'logIn'],
  [/^DELETE \/api\/v1\/session/, 'logOut'],
  [/^POST \/api\/v1\/tokens|^token\.create/, 'makeToken'],
  [/^DELETE \/api\/v1\/tokens|^token\.revoke/, 'revokeToken'],
  [/^PATCH \/api\/v1\/applications|^application\.setRules/, 'setRules'],
  [/^POST \/api\/v1\/keys|^key\.rotate/, 'rotateKey'],
  [/^DELETE \/api\/v1\/keys|^key\.remove/, 'removeKey'],
  [/^POST \/api\/v1\/webhooks\/[^/]+\/test/, 'testWebhook'],
  [/^POST \/api\/v1\/webhooks/, 'makeWebhook'],
  [/^DELETE \/api\/v1\/webhooks/, 'removeWebhook'],
  [/^DELETE \/api\/v1\/shares/, 'endShare'],
  [/^POST \/api\/v1\/shares/, 'openShare'],
  [/^GET \/api\/v1\/(tokens|applications|keys|webhooks|audit)/, 'seeAccess'],
  [/^GET \/api\/v1\/cluster/, 'seeCluster'],
  [/^GET \/api\/v1\/jobs/, 'seeJobs']
]

/** @param below  of the film's path; empty: the film itself. */
function filmDeed(methods: string, below: string): RegExp {
  return new RegExp(`^(?:${methods}) ${FILM}${below}(?:${below === '' ? '' : '/|'}:|$)`)
}

/** @returns undefined: there are no words for it. */
export function deedOf(what: string): Deed | undefined {
  return DEEDS.find(([pattern]) => pattern.test(what))?.[1]
}
