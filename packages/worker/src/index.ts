export { createWorker, type Worker, type WorkerDeps } from './worker.ts'
export { workerConfig, type WorkerConfig } from './worker-config.ts'
