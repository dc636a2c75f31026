export type * from './contract/index.ts'
export type { FileService } from './file-service.ts'
export { gatewayConfig, type GatewayConfig } from './gateway-config.ts'
export { createGateway, type Gateway, type GatewayDependencies } from './gateway.ts'
