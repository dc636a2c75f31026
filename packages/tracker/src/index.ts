export { trackerConfig, type TrackerConfig } from './tracker-config.ts'
export { createTracker, type Tracker, type TrackerDeps } from './tracker.ts'
