/** The gateway's certificate: how long it is good, and whether it is the one that is served. */
import { get } from 'node:https'
import type { TLSSocket } from 'node:tls'
import { reportCertificate, type GatewayConfig } from '@tributary/gateway'
import type { ConfigFile, HostPort } from '@tributary/runtime'
import { whyUnreadable, type Account } from './account.ts'
import { Findings } from './finding.ts'

const RENEW = 'Renew it, then run systemctl reload tributary-gateway.'

/** What does not fit together is told with the configuration: such a gateway does not start. */
export function checkCertificate(certificate: ConfigFile, account: Account, nowMs: number): Findings {
  const findings = new Findings('certificate')
  const closed = whyUnreadable(account, certificate.path)
  if (closed) findings.problem(certificate.path, closed.found, closed.advice)
  const { names, expires, warning } = reportCertificate(certificate, nowMs)
  if (warning !== undefined) findings.warning(certificate.path, warning, RENEW)
  else findings.ok(certificate.path, `for ${names || 'no name'}, until ${expires}`)
  return findings
}

export interface SecureReply {
  body: unknown
  /** Another certificate than the file's: it was renewed, and the server was not told. */
  isOther: boolean
}

/** Asks a server of this machine whatever its certificate: that is for a name, and not for the address that is asked. */
export function askSecurely(
  { host, port }: HostPort,
  path: string,
  { certificate }: GatewayConfig,
  timeoutMs: number
): Promise<SecureReply> {
  return new Promise((resolve, reject) => {
    const options = { host, port, path, agent: false, rejectUnauthorized: false }
    const outgoing = get({ ...options, signal: AbortSignal.timeout(timeoutMs) }, incoming => {
      const served = (incoming.socket as TLSSocket).getPeerX509Certificate()?.fingerprint256
      const isOther = certificate !== undefined && served !== reportCertificate(certificate, 0).fingerprint
      let text = ''
      incoming.setEncoding('utf8')
      incoming.on('data', (chunk: string) => {
        text += chunk
      })
      incoming.on('error', reject)
      incoming.on('end', () => resolve({ body: jsonOf(text), isOther }))
    })
    outgoing.on('error', reject)
  })
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
