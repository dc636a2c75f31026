/** What somebody should know of a cluster, in words; the most urgent first. */
import type { Cluster, ClusterFault, ClusterGroup } from '../contract/index.ts'

/** Less free space than this share of a group's largest member is worth a word. */
const NEARLY_FULL_SHARE = 0.1

export function clusterFaults({ trackers, groups }: Pick<Cluster, 'trackers' | 'groups'>): ClusterFault[] {
  const faults: ClusterFault[] = []
  for (const { address, answers } of trackers) {
    if (!answers) faults.push(warning('tracker-silent', `Tracker ${address} does not answer.`, { address }))
  }
  if (groups.length === 0)
    faults.push(error('no-group', 'There is no group of storage servers: nothing can be stored.', {}))
  for (const group of groups) faults.push(...faultsOf(group))
  return faults.sort((a, b) => Number(a.severity === 'warning') - Number(b.severity === 'warning'))
}

function faultsOf({ name: group, members, draining }: ClusterGroup): ClusterFault[] {
  const faults: ClusterFault[] = []
  const active = members.filter(({ status }) => status === 'ACTIVE')
  if (!active.some(({ serving }) => serving)) {
    faults.push(
      error('group-dead', `No storage server of ${group} serves: its films cannot be played.`, { group })
    )
  } else if (!active.some(({ taking }) => taking) && !draining) {
    faults.push(error('group-full', `${group} takes no new files.`, { group }))
  }
  for (const { hostName: host, status, serving, taking, reason, copies, copiesWanted } of members) {
    const why = reason === null ? '' : ` ${reason}`
    if (status === 'OFFLINE') {
      faults.push(
        warning('member-offline', `Storage server ${host} of ${group} is offline.`, { group, host })
      )
    } else if (!serving) {
      const text = `Storage server ${host} of ${group} does not serve.${why}`
      faults.push(warning('member-not-serving', text, { group, host, reason: reason ?? '' }))
    } else if (!taking && !draining) {
      const text = `Storage server ${host} of ${group} takes no new files.${why}`
      faults.push(warning('member-not-taking', text, { group, host, reason: reason ?? '' }))
    }
    if (copies !== null && copiesWanted !== null && copies < copiesWanted) {
      const text = `${group} has ${copies} of ${copiesWanted} copies of its films within reach.`
      const known = faults.some(({ code, values }) => code === 'copies-missing' && values.group === group)
      const say = copies <= 1 ? error : warning
      if (!known) faults.push(say('copies-missing', text, { group, copies, wanted: copiesWanted }))
    }
  }
  const free = Math.max(0, ...active.map(({ freeBytes }) => freeBytes))
  const total = Math.max(0, ...active.map(({ totalBytes }) => totalBytes))
  if (total > 0 && free / total < NEARLY_FULL_SHARE) {
    const percent = Math.floor((100 * free) / total)
    faults.push(
      warning('group-nearly-full', `${group} has ${percent} % of its space left.`, { group, percent })
    )
  }
  return faults
}

type Values = ClusterFault['values']

function error(code: ClusterFault['code'], text: string, values: Values): ClusterFault {
  return { severity: 'error', code, text, values }
}

function warning(code: ClusterFault['code'], text: string, values: Values): ClusterFault {
  return { severity: 'warning', code, text, values }
}
