/** Configuration of whoever speaks the wire protocol: TLS, the cluster key, and who may do without. */
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { createSecureContext } from 'node:tls'
import { AllowList } from './access.ts'
import type { ConfigConflict, ConfigKeys, ConfigValue } from './config-key.ts'
import { parseNetwork } from './network-entry.ts'

/** A key that is shorter could be guessed from what goes over the wire. */
export const CLUSTER_KEY_CHARACTERS_MIN = 32

/** Of every program that connects to servers of the wire protocol, or is one. */
export const WIRE_KEYS = {
  cluster_key: {
    type: 'secret',
    optional: true,
    describe:
      'Secret of at least 32 characters that all programs of the cluster have: they prove it to each other, and others are refused'
  },
  wire_authorities: {
    type: 'file',
    optional: true,
    reloadable: 'while-set',
    describe: 'PEM file of the authorities of the cluster: with it the wire protocol is spoken over TLS'
  },
  wire_certificate: {
    type: 'file',
    optional: true,
    reloadable: 'while-set',
    describe: "PEM file of this program's certificate for the wire protocol, and its chain"
  },
  wire_private_key: {
    type: 'file',
    optional: true,
    reloadable: 'while-set',
    describe: "PEM file of that certificate's key, without a passphrase"
  }
} as const satisfies ConfigKeys

/** Of every server of the wire protocol besides. */
export const WIRE_SERVER_KEYS = {
  legacy_allow: {
    type: 'list',
    optional: true,
    parse: parseNetwork,
    describe:
      'With a cluster key: networks whose peers are served published commands without proof (default none)'
  },
  wire_mutual: {
    type: 'boolean',
    default: false,
    describe: 'Whoever connects shows a certificate of `wire_authorities`'
  }
} as const satisfies ConfigKeys

export type WireConfig = ConfigValue<typeof WIRE_KEYS>
export type WireServerConfig = ConfigValue<typeof WIRE_KEYS & typeof WIRE_SERVER_KEYS>

/** What does not go together. */
export function wireConflicts(config: WireConfig): ConfigConflict[] {
  const { clusterKey, wireAuthorities, wireCertificate, wirePrivateKey } = config
  const conflicts: ConfigConflict[] = []
  if (clusterKey !== undefined && clusterKey.length < CLUSTER_KEY_CHARACTERS_MIN) {
    conflicts.push({
      key: 'cluster_key',
      expected: `at least ${CLUSTER_KEY_CHARACTERS_MIN} characters, as 'openssl rand -hex 32' makes them`
    })
  }
  if ((wireCertificate === undefined) !== (wirePrivateKey === undefined)) {
    conflicts.push({ key: 'wire_private_key', expected: 'with `wire_certificate`: both or neither' })
  }
  if (wireCertificate !== undefined && wireAuthorities === undefined) {
    conflicts.push({
      key: 'wire_authorities',
      expected: 'the authorities that `wire_certificate` comes from'
    })
  }
  try {
    if (wireAuthorities) createSecureContext({ ca: wireAuthorities.text })
    if (wireAuthorities && !/-----BEGIN CERTIFICATE-----/.test(wireAuthorities.text))
      throw new Error('no PEM')
  } catch (error) {
    conflicts.push({ key: 'wire_authorities', expected: `certificates in PEM: ${(error as Error).message}` })
  }
  if (wireCertificate && wirePrivateKey) {
    try {
      const key = createPrivateKey(wirePrivateKey.text)
      if (!new X509Certificate(wireCertificate.text).checkPrivateKey(key))
        throw new Error('the key is not the one of the certificate')
      createSecureContext({ cert: wireCertificate.text, key: wirePrivateKey.text })
    } catch (error) {
      conflicts.push({
        key: 'wire_certificate',
        expected: `a certificate in PEM and its key: ${(error as Error).message}`
      })
    }
  }
  return conflicts
}

/** The same of a server, which has a certificate where TLS is spoken. */
export function wireServerConflicts(config: WireServerConfig): ConfigConflict[] {
  const conflicts = wireConflicts(config)
  if (config.wireAuthorities && !config.wireCertificate) {
    conflicts.push({
      key: 'wire_certificate',
      expected: 'that of this server, as `wire_authorities` turns TLS on'
    })
  }
  if (config.wireMutual && !config.wireAuthorities) {
    conflicts.push({ key: 'wire_mutual', expected: '`wire_authorities` with it' })
  }
  if (config.legacyAllow !== undefined && config.clusterKey === undefined) {
    conflicts.push({
      key: 'legacy_allow',
      expected: '`cluster_key` with it: without one `allow` says who connects'
    })
  }
  return conflicts
}

/** What a program that connects greets with. */
export function wireSecurityOf({
  clusterKey,
  wireAuthorities,
  wireCertificate,
  wirePrivateKey
}: WireConfig): {
  clusterKey: string | undefined
  tls: { authorities: string; certificate: string | undefined; privateKey: string | undefined } | undefined
} {
  return {
    clusterKey,
    tls: wireAuthorities && {
      authorities: wireAuthorities.text,
      certificate: wireCertificate?.text,
      privateKey: wirePrivateKey?.text
    }
  }
}

/** What a server listens with. */
export function wireServerSecurityOf(config: WireServerConfig): {
  tls: { certificate: string; privateKey: string; clientAuthorities: string | undefined } | undefined
  allowsLegacy: ((ip: string) => boolean) | undefined
} {
  const { wireAuthorities, wireCertificate, wirePrivateKey, wireMutual, legacyAllow } = config
  const legacy = legacyAllow && AllowList.parse(legacyAllow)
  return {
    tls:
      wireCertificate && wirePrivateKey
        ? {
            certificate: wireCertificate.text,
            privateKey: wirePrivateKey.text,
            clientAuthorities: wireMutual ? wireAuthorities?.text : undefined
          }
        : undefined,
    allowsLegacy: legacy && (ip => legacy.allows(ip))
  }
}
