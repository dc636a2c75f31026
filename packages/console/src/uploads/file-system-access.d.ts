// What browsers with the File System Access API have, and TypeScript's library does not know yet.
export {}

declare global {
  interface FileSystemHandle {
    queryPermission?(what: { mode: 'read' }): Promise<PermissionState>
    requestPermission?(what: { mode: 'read' }): Promise<PermissionState>
  }
  interface DataTransferItem {
    /** To be called while the event is handled. */
    getAsFileSystemHandle?(): Promise<FileSystemHandle | null>
  }
  interface Window {
    showOpenFilePicker?(options: { multiple: boolean }): Promise<FileSystemFileHandle[]>
  }
}
