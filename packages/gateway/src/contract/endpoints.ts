/** Everything that the API does, in one table: the routes, the OpenAPI document and the console's client come from it. */
import Type from 'typebox'
import * as access from './access.ts'
import { CLUSTER } from './cluster.ts'
import type { Endpoint } from './endpoint.ts'
import * as films from './films.ts'
import { JOB, JOB_PAGE, JOBS_QUERY, NEW_JOB } from './jobs.ts'

export const ENDPOINTS = {
  'GET /api/v1/films': {
    summary: 'Films, a page at a time',
    right: 'read',
    query: films.FILMS_QUERY,
    reply: films.FILM_PAGE
  },
  'GET /api/v1/films/{application}/{user}/{file}': {
    summary: 'One film with its tracks, subtitles and derived files',
    right: 'read',
    reply: films.FILM_DETAILS
  },
  'PATCH /api/v1/films/{application}/{user}/{file}': {
    summary: 'Gives it a title',
    right: 'write',
    body: films.FILM_CHANGE,
    reply: films.FILM
  },
  'DELETE /api/v1/films/{application}/{user}/{file}': {
    summary: 'Into the trash, or for good',
    right: 'write',
    query: films.DELETE_QUERY
  },
  'POST /api/v1/films/{application}/{user}/{file}/restore': {
    summary: 'Out of the trash',
    right: 'write',
    reply: films.FILM
  },
  'DELETE /api/v1/trash': {
    summary: 'Deletes what is in the trash for good, as much as one request may; `more`: ask again',
    right: 'write',
    query: Type.Object({ application: Type.Optional(Type.String()), user: Type.Optional(Type.String()) }),
    reply: films.EMPTIED
  },
  'PUT /api/v1/films/{application}/{user}/{file}/poster': {
    summary: 'Replaces the poster',
    right: 'write',
    bodyType: 'image/jpeg, image/png, image/webp'
  },
  'DELETE /api/v1/films/{application}/{user}/{file}/poster': {
    summary: 'Takes the poster away',
    right: 'write'
  },
  'PUT /api/v1/films/{application}/{user}/{file}/subtitles/{language}': {
    summary: 'Adds or replaces subtitles of a language (BCP 47)',
    right: 'write',
    query: films.SUBTITLES_QUERY,
    bodyType: 'text/vtt, application/x-subrip',
    reply: films.SUBTITLES
  },
  'DELETE /api/v1/films/{application}/{user}/{file}/subtitles/{language}': {
    summary: 'Takes subtitles away',
    right: 'write'
  },
  'GET /api/v1/owners': {
    summary: 'Applications and users that have films',
    right: 'read',
    reply: films.OWNERS
  },
  'GET /api/v1/usage': {
    summary: 'What an application or a user takes up',
    right: 'read',
    query: films.USAGE_QUERY,
    reply: films.USAGE
  },

  'GET /api/v1/cluster': {
    summary: 'Trackers, groups, members, and what is wrong',
    right: 'read',
    reply: CLUSTER
  },
  'GET /api/v1/cluster/events': {
    summary: 'The same as it changes: server-sent events, data of each as of /api/v1/cluster',
    right: 'read',
    replyType: 'text/event-stream'
  },

  'GET /api/v1/jobs': {
    summary: 'Work on films, newest first',
    right: 'read',
    query: JOBS_QUERY,
    reply: JOB_PAGE
  },
  'POST /api/v1/films/{application}/{user}/{file}/jobs': {
    summary: 'Asks for work',
    right: 'write',
    body: NEW_JOB,
    reply: JOB,
    status: 201
  },
  // The job says which film it is about.
  'POST /api/v1/jobs/{id}/retry': {
    summary: 'Tries a failed one again; needs the right to write what the film’s user has',
    right: 'none',
    reply: JOB
  },
  'DELETE /api/v1/jobs/{id}': {
    summary: 'Cancels it; needs the right to write what the film’s user has',
    right: 'none'
  },

  'GET /api/v1/session': { summary: 'Who is asking', right: 'none', reply: access.SESSION },
  'POST /api/v1/session': {
    summary: 'Logs in with a token',
    right: 'none',
    body: access.LOGIN,
    reply: access.SESSION,
    status: 201
  },
  'DELETE /api/v1/session': { summary: 'Logs out', right: 'none' },
  'GET /api/v1/tokens': {
    summary: 'Tokens, without their secrets',
    right: 'admin',
    reply: Type.Object({ tokens: Type.Array(access.TOKEN) })
  },
  'POST /api/v1/tokens': {
    summary: 'Makes a token',
    right: 'admin',
    body: access.NEW_TOKEN,
    reply: access.MADE_TOKEN,
    status: 201
  },
  'DELETE /api/v1/tokens/{id}': { summary: 'Revokes it', right: 'admin' },
  'GET /api/v1/applications': {
    summary: 'Rules of the applications, or of one',
    right: 'read',
    query: access.APPLICATIONS_QUERY,
    reply: Type.Object({ applications: Type.Array(access.APPLICATION_RULES) })
  },
  'PATCH /api/v1/applications/{application}': {
    summary: 'Changes who may read, and how much may be stored',
    right: 'admin',
    body: access.NEW_RULES,
    reply: access.APPLICATION_RULES
  },
  'GET /api/v1/keys': {
    summary: 'Keys that sign addresses',
    right: 'admin',
    reply: Type.Object({ keys: Type.Array(access.SIGNING_KEY) })
  },
  'POST /api/v1/keys': {
    summary: 'Makes a new key, which signs from now on',
    right: 'admin',
    reply: access.SIGNING_KEY,
    status: 201
  },
  'DELETE /api/v1/keys/{id}': { summary: 'Retires it: what it signed is refused', right: 'admin' },
  'POST /api/v1/films/{application}/{user}/{file}/signature': {
    summary: 'Addresses that work for whoever has them',
    // What is signed outlives the token: who may only read does not hand that on.
    right: 'write',
    body: access.NEW_SIGNATURE,
    reply: access.SIGNED_LINKS
  },
  'GET /api/v1/films/{application}/{user}/{file}/shares': {
    summary: 'Its share links',
    right: 'write',
    reply: Type.Object({ shares: Type.Array(access.SHARE) })
  },
  'POST /api/v1/films/{application}/{user}/{file}/shares': {
    summary: 'Makes a share link',
    right: 'write',
    body: access.NEW_SHARE,
    reply: access.SHARE,
    status: 201
  },
  'DELETE /api/v1/shares/{id}': {
    summary: 'Ends it; needs the right to write what the film’s user has',
    // The share says which film it is about.
    right: 'none'
  },
  'POST /api/v1/shares/{id}/open': {
    summary: 'What a visitor may see',
    right: 'none',
    body: access.SHARE_PASSWORD,
    reply: access.OPENED_SHARE
  },
  'GET /api/v1/webhooks': {
    summary: 'Who is told what happens',
    right: 'admin',
    reply: Type.Object({ webhooks: Type.Array(access.WEBHOOK) })
  },
  'POST /api/v1/webhooks': {
    summary: 'Tells somebody what happens',
    right: 'admin',
    body: access.NEW_WEBHOOK,
    reply: access.MADE_WEBHOOK,
    status: 201
  },
  'DELETE /api/v1/webhooks/{id}': { summary: 'No longer', right: 'admin' },
  'POST /api/v1/webhooks/{id}/test': {
    summary: 'Sends a delivery that says `test`, once; how it went, the webhook tells',
    right: 'admin'
  },
  'GET /api/v1/audit': {
    summary: 'Writes, and what was refused, newest first',
    right: 'admin',
    query: access.AUDIT_QUERY,
    reply: access.AUDIT_PAGE
  },
  'POST /api/v1/plays': { summary: 'A player tells how far it is', right: 'none', body: access.PLAY_REPORT },
  'GET /api/v1/films/{application}/{user}/{file}/plays': {
    summary: 'How often it was played, and how far',
    right: 'read',
    reply: access.PLAYS
  }
} as const satisfies Record<string, Endpoint>

export type EndpointName = keyof typeof ENDPOINTS
export type EndpointOf<N extends EndpointName> = (typeof ENDPOINTS)[N]
