/** How the command speaks to a cluster that asks for a key or TLS: environment over configuration file. */
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import type { ClientOptions } from '@tributary/client'
import { UsageError } from './exit-code.ts'
import { sentenceOf, type Terminal } from './terminal.ts'

/** Keys of the client's configuration file, each the path of a file. */
export const WIRE_FILE_KEYS = [
  'cluster_key_file',
  'wire_authorities',
  'wire_certificate',
  'wire_private_key'
] as const
export type WireFileSettings = { [K in (typeof WIRE_FILE_KEYS)[number]]?: string | undefined }
export type WireSettings = Pick<ClientOptions, 'clusterKey' | 'tls'>

/** @throws {UsageError} a file that cannot be read, or a certificate without its key. */
export function wireSettings(file: WireFileSettings, { folder, port: { env } }: Terminal): WireSettings {
  const read = (key: keyof WireFileSettings): string | undefined => {
    const variable = `TRIBUTARY_${key.toUpperCase()}`
    const path = env[variable] || file[key]
    if (path === undefined) return undefined
    try {
      return readFileSync(resolve(folder, path), 'utf8')
    } catch (error) {
      throw new UsageError(`${key}: ${sentenceOf(error)}`)
    }
  }
  const clusterKey = env['TRIBUTARY_CLUSTER_KEY'] || read('cluster_key_file')?.trim()
  const authorities = read('wire_authorities')
  const certificate = read('wire_certificate')
  const privateKey = read('wire_private_key')
  if ((certificate === undefined) !== (privateKey === undefined))
    throw new UsageError('wire_certificate and wire_private_key: both are expected, or neither')
  return {
    ...(clusterKey !== undefined && { clusterKey }),
    ...(authorities !== undefined && { tls: { authorities, certificate, privateKey } })
  }
}
