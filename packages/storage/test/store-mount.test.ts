/** Which mount a path is on, as the kernel's table has it. */
import { deepEqual, equal, throws } from 'node:assert/strict'
import { describe, it } from 'node:test'
import { checkMount, mountOf } from '../src/store-mount.ts'

const TABLE = `22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
24 22 0:5 / /proc rw - proc proc rw
44 22 0:39 / /srv/group001 rw,relatime - fuse.glusterfs 10.0.0.1:/group001 rw,user_id=0
45 22 0:40 / /srv/with\\040space rw shared:7 master:1 - fuse.glusterfs 10.0.0.1:/odd rw
46 22 8:1 / /srv/disk rw - xfs /dev/sdb1 rw
47 46 8:2 / /srv/disk rw - ext4 /dev/sdc1 rw
48 22 0:50 / /mnt/deep/er rw - xfs /dev/sdd1 rw
49 22 0:51 / /mnt rw - tmpfs tmpfs rw
`

describe('the mount of a path', () => {
  it('is the one that one would walk to', () => {
    const point = (path: string): string => mountOf(path, TABLE).point
    deepEqual(mountOf('/srv/group001/store', TABLE), {
      id: '44',
      parent: '22',
      point: '/srv/group001',
      type: 'fuse.glusterfs',
      source: '10.0.0.1:/group001'
    })
    equal(point('/srv/group001'), '/srv/group001')
    equal(point('/srv/group0010'), '/')
    equal(point('/srv/with space/x'), '/srv/with space')
    equal(point('/'), '/')
    equal(mountOf('/srv/disk/x', TABLE).type, 'ext4', 'the upper one of two')
    equal(mountOf('/mnt/deep/er/x', TABLE).type, 'tmpfs', 'one that lies beneath another is out of reach')
  })

  it('is that of this machine, where no table is given', () => {
    equal(mountOf('/proc/self').type, 'proc')
  })

  it('must be what was demanded, and never the root', () => {
    checkMount('/srv/group001/store', 'fuse.glusterfs', TABLE)
    checkMount('/srv/other', 'any', TABLE)
    throws(() => checkMount('/srv/other', 'fuse.glusterfs', TABLE), {
      name: 'StoreMountError',
      message:
        '/srv/other must be on a mount of type fuse.glusterfs, and is on ext4 at /: its volume is not mounted'
    })
    throws(() => checkMount('/srv/other', 'ext4', TABLE), { name: 'StoreMountError' })
    throws(() => checkMount('/mnt/deep/er', 'xfs', TABLE), { name: 'StoreMountError' })
  })
})
