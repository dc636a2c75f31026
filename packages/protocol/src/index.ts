export * from './address.ts'
export * from './append-head.ts'
export * from './bodies.ts'
export * from './commands.ts'
export * from './derived-file.ts'
export * from './errors.ts'
export * as extension from './extensions.ts'
export type {
  AdoptRequest,
  ClusterGroup,
  ClusterMember,
  ClusterReply,
  ExtendedAddress,
  FetchReply,
  FetchRequest,
  FileFacts,
  Hello,
  ListedFile,
  LocateReply,
  PartBegin,
  PartStatus,
  Presence,
  StatReply,
  StoreReply,
  StoreRequest
} from './extensions.ts'
export * from './file-key.ts'
export * from './frame.ts'
export * from './invariant.ts'
export * from './tagged-fields.ts'
export * from './text-field.ts'
