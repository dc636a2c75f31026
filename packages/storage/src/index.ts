export { runFsck, type Finding, type FindingKind, type FsckOptions, type FsckReport } from './fsck.ts'
export { storageConfig, type StorageConfig } from './storage-config.ts'
export { createStorage, type StorageDeps, type StorageServer } from './storage-server.ts'
export {
  initStore,
  readAnyMarker,
  StoreMarkerError,
  type StoreMarker,
  type StoreOwner
} from './store-marker.ts'
export { checkMount } from './store-mount.ts'
