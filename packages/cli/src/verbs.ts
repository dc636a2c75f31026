/** Every verb of the command. Help, dispatch and documentation derive from this table; a verb's file is loaded when it is used. */
import type { Command } from 'commander'
import type { Terminal } from './terminal.ts'

export interface VerbModule {
  /** Gives the verb its arguments, flags, examples and action. */
  build(command: Command, terminal: Terminal): void
}

export interface Verb {
  name: string
  group: 'Start' | 'Files' | 'Servers' | 'Access' | 'Upkeep'
  describe: string
  load: () => Promise<VerbModule>
}

export const VERBS: readonly Verb[] = [
  {
    name: 'up',
    group: 'Start',
    describe: 'run a whole cluster on this machine',
    load: () => import('./commands/up.ts')
  },
  {
    name: 'upload',
    group: 'Files',
    describe: 'store files, folders or standard input, and print the links that play',
    load: () => import('./commands/upload.ts')
  },
  {
    name: 'download',
    group: 'Files',
    describe: 'get a file, going on where an earlier try broke off',
    load: () => import('./commands/download.ts')
  },
  { name: 'ls', group: 'Files', describe: "list a user's files", load: () => import('./commands/ls.ts') },
  {
    name: 'stat',
    group: 'Files',
    describe: 'show what is known of a file',
    load: () => import('./commands/stat.ts')
  },
  { name: 'size', group: 'Files', describe: "print a file's size", load: () => import('./commands/size.ts') },
  {
    name: 'delete',
    group: 'Files',
    describe: 'delete files for good',
    load: () => import('./commands/delete.ts')
  },
  {
    name: 'groups',
    group: 'Files',
    describe: 'show the groups and their storage servers',
    load: () => import('./commands/groups.ts')
  },
  {
    name: 'jobs',
    group: 'Files',
    describe: 'show the work on films; do it again, cancel it, ask for it',
    load: () => import('./commands/jobs.ts')
  },
  {
    name: 'tracker',
    group: 'Servers',
    describe: 'run a tracker',
    load: () => import('./commands/tracker.ts')
  },
  { name: 'id', group: 'Servers', describe: 'run an ID server', load: () => import('./commands/id.ts') },
  {
    name: 'storage',
    group: 'Servers',
    describe: 'run a storage server; storage init makes a store',
    load: () => import('./commands/storage.ts')
  },
  {
    name: 'gateway',
    group: 'Servers',
    describe: 'run an HTTP server',
    load: () => import('./commands/gateway.ts')
  },
  {
    name: 'worker',
    group: 'Servers',
    describe: 'run a worker: looks into films, makes posters, thumbnails and renditions',
    load: () => import('./commands/worker.ts')
  },
  {
    name: 'db',
    group: 'Upkeep',
    describe: 'migrate the database; add applications and groups',
    load: () => import('./commands/db.ts')
  },
  {
    name: 'group',
    group: 'Upkeep',
    describe: 'add, drain and remove groups; move their files',
    load: () => import('./commands/group.ts')
  },
  {
    name: 'token',
    group: 'Access',
    describe: 'make, list and revoke tokens',
    load: () => import('./commands/token.ts')
  },
  {
    name: 'sign',
    group: 'Access',
    describe: 'print addresses of films that work for whoever has them, until they expire',
    load: () => import('./commands/sign.ts')
  },
  {
    name: 'access',
    group: 'Access',
    describe: 'show and set who may read an application, its quotas, and the keys that sign',
    load: () => import('./commands/access.ts')
  },
  {
    name: 'fsck',
    group: 'Upkeep',
    describe: 'compare index and disk, repair, or make the index again',
    load: () => import('./commands/fsck.ts')
  },
  {
    name: 'doctor',
    group: 'Upkeep',
    describe: 'look for what is wrong on this machine and in the cluster',
    load: () => import('./commands/doctor.ts')
  },
  {
    name: 'backup',
    group: 'Upkeep',
    describe: 'save the index and the journals, while servers run',
    load: () => import('./commands/backup.ts')
  },
  {
    name: 'restore',
    group: 'Upkeep',
    describe: 'put a backup into a database, and what the stores know beside it',
    load: () => import('./commands/restore.ts')
  },
  {
    name: 'config',
    group: 'Upkeep',
    describe: 'check a configuration file',
    load: () => import('./commands/config.ts')
  },
  {
    name: 'deploy',
    group: 'Upkeep',
    describe: 'check the description of a cluster of machines, and write the files of its hosts',
    load: () => import('./commands/deploy.ts')
  }
]
