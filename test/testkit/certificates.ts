/** An authority of our own, and certificates of it for 127.0.0.1: made by `openssl` for a test, and gone with it. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { X509Certificate } from 'node:crypto'
import { runProgram } from './program.ts'
import { missingPrograms } from './service.ts'

const NAMES = 'subjectAltName=DNS:localhost,IP:127.0.0.1\n'
const CURVE = ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:prime256v1']

/** Why there can be no certificates here, if so. @throws where nothing may be skipped. */
export function noOpenssl(): string | undefined {
  return missingPrograms(['openssl'])
}

export interface TestCertificate {
  /** Of the PEM file with the certificate. */
  path: string
  keyPath: string
  /** As OpenSSL writes it: hexadecimal digits. */
  serial: string
  text: string
  key: string
}

export class TestAuthority {
  readonly folder: string
  #made = 0

  private constructor(folder: string) {
    this.folder = folder
  }

  static async open(): Promise<TestAuthority> {
    const authority = new TestAuthority(await mkdtemp(join(tmpdir(), 'tributary-certificates-')))
    await authority.#run('genpkey', ...CURVE, '-out', 'ca.key')
    const about = ['-subj', '/CN=Test authority', '-days', '30', '-out', 'ca.pem']
    await authority.#run('req', '-x509', '-new', '-key', 'ca.key', ...about)
    await writeFile(join(authority.folder, 'names'), NAMES)
    return authority
  }

  /** What a client trusts, as for `curl --cacert`. */
  get path(): string {
    return join(this.folder, 'ca.pem')
  }

  get text(): string {
    return readFileSync(this.path, 'utf8')
  }

  /** @param days  from now to its end; less than 0: it is over. */
  async issue(days = 90): Promise<TestCertificate> {
    const name = `server${++this.#made}`
    await this.#run('genpkey', ...CURVE, '-out', `${name}.key`)
    await this.#run('req', '-new', '-key', `${name}.key`, '-subj', '/CN=localhost', '-out', `${name}.csr`)
    const issuer = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-extfile', 'names']
    const made = ['-days', String(days), '-out', `${name}.pem`]
    await this.#run('x509', '-req', '-in', `${name}.csr`, ...issuer, ...made)
    const path = join(this.folder, `${name}.pem`)
    const keyPath = join(this.folder, `${name}.key`)
    const text = readFileSync(path, 'utf8')
    const key = readFileSync(keyPath, 'utf8')
    return { path, keyPath, text, key, serial: new X509Certificate(text).serialNumber }
  }

  async close(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true })
  }

  async #run(...args: string[]): Promise<void> {
    const { exitCode, stderr } = await runProgram('openssl', args, { cwd: this.folder })
    if (exitCode !== 0) throw new Error(`openssl ${args.join(' ')} ended with ${exitCode}: ${stderr}`)
  }
}
