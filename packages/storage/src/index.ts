export { runBackup } from './backup.ts'
export { runRestore } from './restore.ts'
export { runFsck, SETTLE_MS, type FsckOptions, type FsckReport } from './fsck.ts'
export { FINDING_KINDS, type Finding, type FindingKind } from './finding.ts'
export type { Repair } from './store-repair.ts'
export { storageConfig, type StorageConfig } from './storage-config.ts'
export { createStorage, type StorageDeps, type StorageServer } from './storage-server.ts'
export { memberAt, membersHere, type MemberState } from './member-door.ts'
export { Volume } from './volume.ts'
export {
  initStore,
  readAnyMarker,
  StoreMarkerError,
  type StoreMarker,
  type StoreOwner
} from './store-marker.ts'
export { checkMount } from './store-mount.ts'
