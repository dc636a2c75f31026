export { checkDescriptions, deployCluster, type Rendered } from './deployment.ts'
export { DescriptionError, findingText, type Finding } from './finding.ts'
export { PLAN_VERSION, type Plan, type PlanStep } from './plan.ts'
