/** Who is behind a request, and what they may do. */
import type { AccessGrant, Right } from '@tributary/calls'
import type { FileKey } from '@tributary/protocol'

export type Principal =
  /** Nobody in particular. */
  | { readonly kind: 'anonymous' }
  /** A program or page of this machine, where no write token is demanded; `right`: the most that it may do. */
  | { readonly kind: 'local'; readonly right: Right }
  | TokenPrincipal
  /** Has a signed address, of its own or from a share: may read one film. */
  | { readonly kind: 'signed'; readonly film: FileKey; readonly keyId: string }

export interface TokenPrincipal {
  readonly kind: 'token'
  /** Of the token that everything is done with; `config:…`: the write token of the configuration. */
  readonly id: string
  readonly name: string
  readonly grants: readonly AccessGrant[]
  /** UNIX milliseconds; 0: never. */
  readonly expiresAtMs: number
  /** Id of the session, where the token came in a cookie. */
  readonly session: string | undefined
}

/** What a request is about; nothing named: the whole cluster. */
export interface Scope {
  readonly application?: string | undefined
  readonly user?: string | undefined
}

export const ANONYMOUS: Principal = { kind: 'anonymous' }
export const FULL_GRANTS: readonly AccessGrant[] = [{ application: '*', rights: ['admin'] }]

const RANKS: Record<Right, number> = { read: 0, write: 1, admin: 2 }

/** Whether one of the grants has the right, or one that includes it, for all that the scope names. */
export function grantsCover(
  grants: readonly AccessGrant[],
  right: Right,
  { application, user }: Scope
): boolean {
  return grants.some(
    grant =>
      (grant.application === '*' || grant.application === application) &&
      (grant.user === undefined || grant.user === user) &&
      grant.rights.some(held => RANKS[held] >= RANKS[right])
  )
}

export function isAtLeast(held: Right, right: Right): boolean {
  return RANKS[held] >= RANKS[right]
}

/** For the audit log and for people. */
export function nameOf(principal: Principal): string {
  switch (principal.kind) {
    case 'token':
      return principal.name
    case 'signed':
      return `signed address, key ${principal.keyId}`
    default:
      return principal.kind
  }
}

/** Requests that count together when they are limited. */
export function limitKeyOf(principal: Principal, address: string): string {
  return principal.kind === 'token' ? `token ${principal.id}` : `address ${address}`
}
