/** A rendered cluster of two hosts with small units of its own: what the lab does, without what it is there for. */
import { chmod, mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { FirstStep } from '../../lab/plan.ts'

const HOSTS = ['one', 'two'] as const

/** @param units name → text, the same on both hosts. @returns the folder, for `Lab.lay` */
export async function renderByHand(
  folder: string,
  units: Readonly<Record<string, string>>,
  firstStart: readonly FirstStep[] = []
): Promise<string> {
  for (const host of HOSTS) {
    for (const [name, text] of Object.entries(units))
      await put(join(folder, 'hosts', host, 'etc/systemd/system', name), text)
  }
  for (const host of HOSTS)
    await put(join(folder, `steps/05-prepare.${host}.sh`), 'echo prepared >> /var/prepared\n')
  await put(join(folder, 'steps/05-prepare.sh'), 'set -eu\nuseradd --system --no-create-home tributary\n')
  const plan = {
    version: 1,
    cluster: 'by-hand',
    hosts: HOSTS.map((name, at) => ({
      name,
      address: `10.78.0.${11 + at}`,
      region: '',
      device: 'eth0',
      roles: [],
      units: Object.keys(units).filter(name => /^[^/]+\.service$/.test(name))
    })),
    groups: [],
    virtualAddresses: [],
    firstStart: [...HOSTS.map(host => ({ run: 'steps/05-prepare.sh', host })), ...firstStart]
  }
  await put(join(folder, 'plan.json'), JSON.stringify(plan))
  return folder
}

async function put(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  await writeFile(path, text)
  await chmod(path, 0o755)
}
