export { AllowList, isLoopbackHost, NAMED_NETWORKS, NetworkSyntaxError, plainAddress } from './access.ts'
export { AdminServer, serveAdmin, type AdminServerOptions } from './admin-server.ts'
export { formatByteSize, parseByteSize } from './byte-size.ts'
export type { FailedMessage, PingMessage, PongMessage, ReadyFields, ReadyMessage } from './child-message.ts'
export type { ChildCommand, ChildEnd, HangDetection, OutputStream } from './child-run.ts'
export { ManualClock, systemClock, type Clock } from './clock.ts'
export { ConfigFile } from './config-file.ts'
export {
  COMMON_SECTION,
  ConfigError,
  describeConfig,
  explainConfig,
  loadConfig,
  type ConfigProblem,
  type ConfigRow,
  type ConfigSources,
  type EffectiveRow
} from './config.ts'
export { reloadConfig, type ConfigReload } from './config-reload.ts'
export { helpText, parseConfigFlags, type ConfigArguments } from './config-flags.ts'
export {
  defineConfig,
  type AnyConfigDefinition,
  type ConfigConflict,
  type ConfigDefinition,
  type ConfigKey,
  type ConfigKeys,
  type ConfigKeyType,
  type ConfigOf,
  type ConfigValue
} from './config-key.ts'
export { formatHostPort, parseHostPort, type HostPort } from './host-port.ts'
export { SERVER_NODE_FLAGS } from './server-node-flags.ts'
export {
  describeStartFailure,
  EXIT,
  runMain,
  runUntilSignal,
  type RunnableServer,
  type RunOptions
} from './lifecycle.ts'
export { Lifespan, type Closer } from './lifespan.ts'
export {
  addressKeys,
  allowListOf,
  LISTENER_KEYS,
  adminConflicts,
  listenerConflicts,
  type ListenerConfig
} from './listener-config.ts'
export {
  createLog,
  LOG_LEVELS,
  silentLog,
  type Log,
  type LogFields,
  type LogLevel,
  type LogMethod,
  type LogOptions
} from './log.ts'
export { parseNetwork } from './network-entry.ts'
export {
  CLUSTER_KEY_CHARACTERS_MIN,
  WIRE_KEYS,
  wireConflicts,
  wireSecurityOf,
  wireServerSecurityOf,
  type WireConfig
} from './wire-config.ts'
export { formatLogLine } from './log-line.ts'
export type { LogDestination } from './log-output.ts'
export { LogThrottle, type LogThrottleOptions } from './log-throttle.ts'
export {
  emptySnapshot,
  LATENCY_BOUNDS_MS,
  mergeSnapshots,
  OUTCOME_OK,
  RequestMeter,
  type CommandSnapshot,
  type ConnectionCounts,
  type MeterSnapshot
} from './meter.ts'
export { MeterSum } from './meter-sum.ts'
export { Metrics, type GaugeReading, type ReadGauge } from './metrics.ts'
export { nearest } from './near-miss.ts'
export { ProbeWatch, type ProbeWatchOptions } from './probe-watch.ts'
export { processPort, type ProcessPort, type StopSignal, type Unsubscribe } from './process-port.ts'
export { Readiness, type ReadinessReport } from './readiness.ts'
export { REDACTED, redactText } from './redaction.ts'
export {
  ChildStartError,
  ProcessSupervisor,
  type SupervisorOptions,
  type SupervisorState
} from './supervisor.ts'
