import type { Client } from '@tributary/client'

/** What the gateway needs of a cluster; the client library has it. */
export type FileService = Pick<
  Client,
  | 'fetch'
  | 'stat'
  | 'upload'
  | 'uploads'
  | 'delete'
  | 'list'
  | 'groups'
  | 'index'
  | 'trash'
  | 'deleteGeneration'
  | 'trackers'
  | 'close'
>
