export { Client } from './client.ts'
export type * from './contract.ts'
export { makeFileId } from './file-id.ts'
export * from './signed-address.ts'
