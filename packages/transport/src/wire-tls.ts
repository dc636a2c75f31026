/** TLS below the frames. */

/** Of a program that connects. PEM texts. */
export interface WireTls {
  /** Authorities whose servers are believed; names and addresses are checked as everywhere. */
  authorities: string
  /** Shown to servers that ask for one. */
  certificate?: string | undefined
  privateKey?: string | undefined
}

/** Of a server. PEM texts. */
export interface ServerTls {
  certificate: string
  privateKey: string
  /** Whoever connects shows a certificate of one of these authorities; undefined: nobody is asked for one. */
  clientAuthorities?: string | undefined
}

/** Older versions, and ciphers without forward secrecy, are spoken by nobody. */
export const TLS_VERSION_MIN = 'TLSv1.2'
/** A handshake that takes longer is given up. */
export const TLS_HANDSHAKE_MS = 10_000
