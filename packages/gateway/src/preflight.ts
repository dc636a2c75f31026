/** What scripts of other sites may do with what belongs to a film: read it, and no more. */
import { CORS_HEADERS } from './file-headers.ts'

const PREFLIGHT_AGE_S = '86400'
const READ_HEADERS =
  'Range, If-Range, If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since, Cache-Control'

export const READ_METHODS = 'GET, HEAD'

export const PREFLIGHT_HEADERS: readonly string[] = [
  ...CORS_HEADERS,
  'Access-Control-Allow-Methods',
  READ_METHODS,
  'Access-Control-Allow-Headers',
  READ_HEADERS,
  'Access-Control-Max-Age',
  PREFLIGHT_AGE_S
]
