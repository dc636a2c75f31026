/** The certificate that the gateway shows, and whether it can be served. */
import { createPrivateKey, X509Certificate, type KeyObject } from 'node:crypto'
import { createSecureContext, type SecureContextOptions } from 'node:tls'
import type { ConfigConflict, ConfigFile } from '@tributary/runtime'

const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g
const PEM_PRIVATE_KEY = /-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----/
const ENCRYPTED = /-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: 4,ENCRYPTED/m
/** One that is renewed in time is never nearer to its end: authorities have it renewed with a third of its time left. */
const EXPIRES_SOON_MS = 14 * 24 * 3_600_000
const EXPIRES_SOON_SHARE = 1 / 4

interface Pair {
  readonly certificate: ConfigFile | undefined
  readonly privateKey: ConfigFile | undefined
}

/** What makes a certificate and its key unfit to be served. An expired one can be: to refuse it would help nobody. */
export function certificateConflicts({ certificate, privateKey }: Pair): ConfigConflict[] {
  const wrong = (key: 'certificate' | 'private_key', expected: string): ConfigConflict[] => [
    { key, expected }
  ]
  if (certificate === undefined && privateKey === undefined) return []
  if (certificate === undefined)
    return wrong('certificate', 'the certificate of `private_key`: both or neither')
  if (privateKey === undefined) return wrong('private_key', 'the key of `certificate`: both or neither')
  const chain = chainOf(certificate)
  const key = keyOf(privateKey)
  const conflicts: ConfigConflict[] = []
  if (typeof chain === 'string') conflicts.push(...wrong('certificate', chain))
  if (typeof key === 'string') conflicts.push(...wrong('private_key', key))
  if (typeof chain === 'string' || typeof key === 'string') return conflicts
  const [leaf, ...others] = chain
  if (!leaf!.checkPrivateKey(key)) {
    return others.some(other => other.checkPrivateKey(key))
      ? wrong('certificate', "the server's own certificate first, then those of its authorities")
      : wrong('private_key', `the key that belongs to the certificate in ${certificate.path}`)
  }
  try {
    createSecureContext(secureOptions({ certificate, privateKey }))
  } catch (error) {
    return wrong('certificate', `a certificate and a key that TLS takes: ${reasonOf(error)}`)
  }
  return []
}

/** Options of a TLS server, also for `setSecureContext`, which forgets those that it is not given. */
export function secureOptions({ certificate, privateKey }: Pair): SecureContextOptions {
  return { cert: certificate?.text, key: privateKey?.text, minVersion: 'TLSv1.2' }
}

export interface CertificateReport {
  serial: string
  fingerprint: string
  /** Names that it is for, as OpenSSL writes them; empty where it has none. */
  names: string
  expiresMs: number
  expires: string
  /** What is wrong with its dates, in words; undefined: nothing. */
  warning: string | undefined
}

/** @param certificate  one that has no conflicts. */
export function reportCertificate({ text }: ConfigFile, nowMs: number): CertificateReport {
  const { serialNumber, fingerprint256, subjectAltName, validFromDate, validToDate } = new X509Certificate(
    text
  )
  const expiresMs = validToDate.getTime()
  const soonMs = Math.min(EXPIRES_SOON_MS, (expiresMs - validFromDate.getTime()) * EXPIRES_SOON_SHARE)
  const expires = validToDate.toISOString()
  const warning =
    nowMs < validFromDate.getTime()
      ? `it is not valid before ${validFromDate.toISOString()}: clients refuse it`
      : nowMs >= expiresMs
        ? `it expired on ${expires}: clients refuse it`
        : expiresMs - nowMs < soonMs
          ? `it expires on ${expires}`
          : undefined
  return {
    serial: serialNumber,
    fingerprint: fingerprint256,
    names: subjectAltName ?? '',
    expiresMs,
    expires,
    warning
  }
}

function chainOf({ text }: ConfigFile): X509Certificate[] | string {
  const blocks = text.match(PEM_CERTIFICATE) ?? []
  if (blocks.length === 0)
    return 'a PEM file: the certificate of the server, then those of its authorities, without their root'
  try {
    return blocks.map(block => new X509Certificate(block))
  } catch (error) {
    return `certificates in PEM that can be read: ${reasonOf(error)}`
  }
}

function keyOf({ text }: ConfigFile): KeyObject | string {
  if (ENCRYPTED.test(text)) return 'a private key without a passphrase'
  if (!PEM_PRIVATE_KEY.test(text)) return 'a PEM file with a private key'
  try {
    return createPrivateKey(text)
  } catch (error) {
    return `a private key in PEM that can be read: ${reasonOf(error)}`
  }
}

/** OpenSSL's own words: `error:0A00018F:SSL routines::ee key too small` → `ee key too small`. */
function reasonOf(error: unknown): string {
  return (error as Error).message.split(':').at(-1)!.trim()
}
