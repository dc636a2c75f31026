/** Every file of a cluster, from its description. */
import type { Description } from './description.ts'
import { galeraFiles } from './galera-config.ts'
import { glusterFiles } from './gluster-volume.ts'
import { stepFiles } from './host-steps.ts'
import { keepalivedFiles } from './keepalived-config.ts'
import { monitoringFiles } from './monitoring.ts'
import { operatorReadme } from './operator-readme.ts'
import { makePlan, type Plan } from './plan.ts'
import { redisFiles } from './redis-config.ts'
import { PLAIN, type RenderedFile } from './rendered-file.ts'
import type { Secrets } from './secrets.ts'
import { systemdFiles } from './systemd-units.ts'
import { tributaryFiles } from './tributary-config.ts'

export interface Rendering {
  plan: Plan
  /** Sorted by path. */
  files: RenderedFile[]
}

/**
 * The same description and secrets make the same bytes.
 *
 * @param description  one that checkCluster finds no error in.
 */
export function renderCluster(description: Description, secrets: Secrets): Rendering {
  const plan = makePlan(description)
  const files = [
    ...description.hosts.flatMap(host => [
      ...tributaryFiles(description, host, secrets),
      ...systemdFiles(description, host),
      ...glusterFiles(description, host),
      ...keepalivedFiles(description, host),
      ...galeraFiles(description, host, secrets),
      ...redisFiles(description, host, secrets)
    ]),
    ...stepFiles(description),
    ...monitoringFiles(description),
    { path: 'README.md', text: operatorReadme(description, plan), mode: PLAIN },
    { path: 'plan.json', text: `${JSON.stringify(plan, undefined, 2)}\n`, mode: PLAIN }
  ]
  return { plan, files: files.sort((a, b) => (a.path < b.path ? -1 : 1)) }
}
