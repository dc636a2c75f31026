/** A group of two members, each with a mount of its own of one GlusterFS volume. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { COMMANDS, encodeFrame, extension, type ClusterMember } from '@tributary/protocol'
import { Connection } from '@tributary/transport'
import { cleanUp } from '../faults/cleanup.ts'
import { startCluster, type ClusterOptions, type TestCluster } from '../testkit/cluster.ts'
import { TestVolume, type TestMount, type TestVolumeOptions } from '../testkit/glusterfs.ts'

export interface MirroredGroup {
  folder: string
  volume: TestVolume
  mounts: [TestMount, TestMount]
  cluster: TestCluster
}

export interface MirroredGroupOptions {
  volume?: Omit<TestVolumeOptions, 'folder'>
  /** Options of the second member's mount, where they are other ones. */
  secondTimeouts?: Readonly<Record<string, string>>
  /** Flags of both storage servers, and of each. */
  storage?: Readonly<Record<string, unknown>>
  members?: ClusterOptions['members']
}

export async function startMirroredGroup(
  t: TestContext,
  options: MirroredGroupOptions = {}
): Promise<MirroredGroup> {
  const folder = await mkdtemp(join(tmpdir(), 'tributary-glusterfs-'))
  cleanUp(t, () => rm(folder, { recursive: true, force: true }))
  const volume = await TestVolume.start({ folder, ...options.volume })
  cleanUp(t, () => volume.stop())
  const first = await volume.mount(join(folder, 'mount1'))
  const second = await volume.mount(join(folder, 'mount2'), options.secondTimeouts)
  const roots = [first, second].map(({ point }) => join(point, 'store'))
  const cluster = await startCluster({
    folder,
    storages: 2,
    storeRoots: [roots[0]!],
    storage: { mount: 'fuse.glusterfs', ...options.storage },
    members: [0, 1].map(index => ({ stores: roots[index], ...options.members?.[index] }))
  })
  cleanUp(t, () => cluster.stop())
  return { folder, volume, mounts: [first, second], cluster }
}

/** As the tracker has it, in the order of the cluster's storage servers. */
export async function membersOf(cluster: TestCluster): Promise<ClusterMember[]> {
  const connection = await Connection.open('tracker', cluster.tracker, { timeoutMs: 2_000 })
  try {
    await connection.greet({ role: 'client', cluster: '', version: '0.0.0' }, { timeoutMs: 2_000 })
    const body = await connection.call(encodeFrame(COMMANDS.CLUSTER.code), { timeoutMs: 2_000 })
    const members = extension.clusterReply.decode(body).groups.flatMap(group => group.members)
    return cluster.storages.map(({ port }) =>
      members.find(({ addresses }) => addresses.some(address => address.port === port))!
    )
  } finally {
    connection.destroy()
  }
}
