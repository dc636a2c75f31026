export { idServerConfig, type IdServerConfig } from './id-server-config.ts'
export { createIdServer, type IdServer, type IdServerDeps } from './id-server.ts'
