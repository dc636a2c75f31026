export { Client } from './client.ts'
export type { TrackerProbe } from './tracker-calls.ts'
export type * from './contract.ts'
export { makeFileId } from './file-id.ts'
