/** Configuration of the worker: table `[worker]`, variables `TRIBUTARY_WORKER_…`, flags. */
import { WORKER_NAME_LENGTH_MAX } from '@tributary/calls'
import {
  defineConfig,
  LISTENER_KEYS,
  adminConflicts,
  WIRE_KEYS,
  wireConflicts,
  type ConfigConflict,
  type ConfigOf
} from '@tributary/runtime'
import { parseProfile, PROFILES_MAX } from './profile.ts'

const GIB = 1024 ** 3
const TIB = 1024 ** 4

const { admin_host, admin_port, allow, insecure, stop_timeout_s, log_level } = LISTENER_KEYS

export const workerConfig = defineConfig(
  'worker',
  {
    trackers: {
      type: 'addresses',
      default: [{ host: '127.0.0.1', port: 21_000 }],
      minCount: 1,
      maxCount: 64,
      describe: 'Trackers to ask, tried in turn'
    },
    name: {
      type: 'string',
      optional: true,
      parse: parseWorkerName,
      describe: 'Under which it is known; no two workers share one (default: the name of the machine)'
    },
    jobs_max: {
      type: 'integer',
      default: 2,
      min: 1,
      max: 64,
      describe: 'Jobs at a time'
    },
    renditions_max: {
      type: 'integer',
      default: 1,
      min: 1,
      max: 64,
      describe:
        'How many of them may be renditions, which take long: less than jobs_max leaves room for posters'
    },
    profiles: {
      type: 'list',
      default: [],
      maxCount: PROFILES_MAX,
      parse: parseProfile,
      describe:
        'Renditions to make of each film: 1080p, 720p, 480p, 360p, or name:height:video-kbit:audio-kbit; none by default'
    },
    preset: {
      type: 'choice',
      choices: ['ultrafast', 'superfast', 'veryfast', 'faster', 'fast', 'medium', 'slow'],
      default: 'veryfast',
      describe: 'How much time the encoder takes to save bits'
    },
    ffmpeg: {
      type: 'string',
      default: 'ffmpeg',
      describe: 'The program, by name or path; without it there are no posters, thumbnails and renditions'
    },
    ffmpeg_threads: {
      type: 'integer',
      default: 2,
      min: 1,
      max: 64,
      describe: 'Threads of one ffmpeg'
    },
    ffmpeg_memory_bytes: {
      type: 'bytes',
      default: 4 * GIB,
      min: GIB / 2,
      max: TIB,
      describe: 'Address space of one ffmpeg: whatever a film demands, it gets no more'
    },
    niceness: {
      type: 'integer',
      default: 10,
      min: 0,
      max: 19,
      describe: 'How far ffmpeg stands back behind other programs of the machine'
    },
    temp_folder: {
      type: 'path',
      default: '/var/tmp/tributary',
      describe: 'Where renditions are made before they are stored; a folder of its own name is made in there'
    },
    rendition_max_bytes: {
      type: 'bytes',
      default: 64 * GIB,
      min: 1024 ** 2,
      max: TIB,
      describe: 'Largest rendition'
    },
    lease_s: {
      type: 'number',
      default: 30,
      min: 2,
      max: 600,
      describe: 'After so long a silence of this worker its jobs are given to others'
    },
    poll_s: {
      type: 'number',
      default: 1,
      min: 0.1,
      max: 600,
      describe: 'How often it looks for work while there is none'
    },
    ...WIRE_KEYS,
    admin_host,
    admin_port,
    allow,
    insecure,
    stop_timeout_s,
    log_level
  },
  config => {
    // It serves nobody on the wire: only health and metrics listen.
    const conflicts: ConfigConflict[] = wireConflicts(config)
    const { adminHost, adminPort, allow, insecure } = config
    conflicts.push(...adminConflicts({ adminHost, adminPort, allow, insecure }))
    const names = config.profiles.map(({ name }) => name)
    if (new Set(names).size < names.length) conflicts.push({ key: 'profiles', expected: 'each name once' })
    return conflicts
  }
)
export type WorkerConfig = ConfigOf<typeof workerConfig>

/** It names a folder, and is shown to people. */
function parseWorkerName(text: string): string {
  if (!isWorkerName(text)) throw new Error(`1 to ${WORKER_NAME_LENGTH_MAX} letters, digits, '.', '_' and '-'`)
  return text
}

export function isWorkerName(text: string): boolean {
  return text.length <= WORKER_NAME_LENGTH_MAX && /^[A-Za-z0-9_-][A-Za-z0-9._-]*$/.test(text)
}
