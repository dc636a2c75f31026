/** The cluster as it changes, for as long as somebody looks. */
import { signal } from '@preact/signals'
import type { Cluster, ClusterMember } from '@tributary/gateway/contract'
import { call } from '../api/api.ts'
import { sentenceOf } from '../parts/failure.ts'
import { Series } from './series.ts'

export const cluster = signal<Cluster | undefined>(undefined)
/** What is shown is from before. */
export const isLost = signal(false)
export const trouble = signal('')
/** Bytes sent and received a second, and connections, of the gateway. */
export const traffic = new Series(2)
export const connections = new Series(1)
/** Bytes a second of each member. */
export const ofMembers = new Map<string, Series>()

export function watchCluster(): () => void {
  trouble.value = ''
  const source = new EventSource('/api/v1/cluster/events')
  const take = (now: Cluster): void => {
    isLost.value = false
    note(now)
    cluster.value = now
  }
  const onEvent = (event: MessageEvent<string>): void => take(JSON.parse(event.data) as Cluster)
  source.addEventListener('cluster', onEvent)
  source.addEventListener('trouble', () => (isLost.value = true))
  source.addEventListener('error', () => {
    isLost.value = true
    // A refusal ends the source for good; a request says why.
    if (source.readyState !== EventSource.CLOSED) return
    call('GET /api/v1/cluster', {}).then(take, error => (trouble.value = sentenceOf(error)))
  })
  return () => source.close()
}

function note({ at, gateway, groups }: Cluster): void {
  const atS = Date.parse(at) / 1000
  traffic.add(atS, [gateway.bytesSentPerS, gateway.bytesReceivedPerS])
  connections.add(atS, [gateway.connections])
  const names = new Set<string>()
  for (const group of groups) {
    for (const member of group.members) {
      const name = memberKey(group.name, member)
      names.add(name)
      let series = ofMembers.get(name)
      if (!series) ofMembers.set(name, (series = new Series(1)))
      series.add(atS, [member.bytesPerS])
    }
  }
  for (const name of ofMembers.keys()) if (!names.has(name)) ofMembers.delete(name)
}

/** Members of one machine have its name in common. */
export function memberKey(group: string, { hostName, addresses }: ClusterMember): string {
  return [group, hostName, ...addresses].join(' ')
}
