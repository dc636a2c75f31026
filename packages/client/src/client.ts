import { UnavailableError, type ClusterReply, type FileKey, type ListedFile } from '@tributary/protocol'
import type {
  CallOptions,
  ClientOptions,
  Download,
  DownloadedFile,
  DownloadOptions,
  DownloadToFileOptions,
  Fetched,
  FetchOptions,
  FileStat,
  ListOptions,
  Uploaded,
  UploadOptions,
  UploadSource
} from './contract.ts'

const growing = (): Promise<never> =>
  Promise.reject(new UnavailableError('INTERNAL', 'this part of the client is being built'))

/** A cluster, as a program sees it. Keeps pooled connections; `close` ends them. */
export class Client {
  constructor(_options: ClientOptions) {}

  /** Stores a new file. @throws {RejectedError} FILE_EXISTS. */
  upload(_source: UploadSource, _options: UploadOptions): Promise<Uploaded> {
    return growing()
  }

  /** Facts, condition and content in one round trip. @throws {RejectedError} FILE_NOT_FOUND. */
  fetch(_key: FileKey, _options: FetchOptions = {}): Promise<Fetched> {
    return growing()
  }

  download(_key: FileKey, _options: DownloadOptions = {}): Promise<Download> {
    return growing()
  }

  downloadToFile(
    _key: FileKey,
    _path: string,
    _options: DownloadToFileOptions = {}
  ): Promise<DownloadedFile> {
    return growing()
  }

  stat(_key: FileKey, _options: CallOptions = {}): Promise<FileStat> {
    return growing()
  }

  size(_key: FileKey, _options: CallOptions = {}): Promise<number> {
    return growing()
  }

  delete(_key: FileKey, _options: CallOptions = {}): Promise<void> {
    return growing()
  }

  list(_options: ListOptions): Promise<{ files: ListedFile[]; more: boolean }> {
    return growing()
  }

  groups(_options: CallOptions = {}): Promise<ClusterReply> {
    return growing()
  }

  groupsText(_options: CallOptions = {}): Promise<string> {
    return growing()
  }

  close(): void {}
}
