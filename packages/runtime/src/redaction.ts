/** What replaces a secret wherever text leaves the process. */
export const REDACTED = '[redacted]'

// The length of a scheme is bounded: without it a long line of letters takes the square of its length.
const CREDENTIALS_IN_URL = /([a-z][a-z0-9+.-]{0,20}:\/\/)[^\s/?#"'@]*(?:@[^\s/?#"'@]*)*@/gi
const TOKEN_IN_QUERY = /([?&](?:token|access_token|signature|password)=)[^\s&#"']+/gi
const BEARER = /\b(Bearer|Basic) +[A-Za-z0-9._~+/=-]{4,}/g
const SECRET_MEMBER =
  /"([a-z0-9_-]*(?:token|password|passwd|secret|authorization|cookie|private_?key)s?)":(?:"(?:[^"\\]|\\.)*"|\[[^\]]*\]|-?\d[\d.eE+-]*)/gi

/** Takes credentials out of URLs, of query strings and of Authorization headers in free text. */
export function redactText(text: string): string {
  return text
    .replace(CREDENTIALS_IN_URL, `$1${REDACTED}@`)
    .replace(TOKEN_IN_QUERY, `$1${REDACTED}`)
    .replace(BEARER, `$1 ${REDACTED}`)
}

/**
 * Takes secrets out of one line of JSON, at any depth: members whose name ends in token, password, secret,
 * authorization, cookie or private key, and what `redactText` finds. Done on the text because a path list,
 * as loggers offer it, misses what is nested one level deeper than its author thought.
 */
export function redactJsonLine(line: string): string {
  return redactText(line.replace(SECRET_MEMBER, `"$1":"${REDACTED}"`))
}
