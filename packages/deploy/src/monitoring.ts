/** Prometheus: whom to ask, what to be woken for; Grafana: what to look at. */
import { storagePlaces } from './cluster-addresses.ts'
import { gatewayAdminPort, hostsWith, PORTS, type Description } from './description.ts'
import { PLAIN, type RenderedFile } from './rendered-file.ts'

const SCRAPE = '5s'
/** Whatever renews certificates does so long before; then there is time to find out why it did not. */
const CERTIFICATE_DAYS_MIN = 14

interface Alert {
  name: string
  expression: string
  /** Empty: at once. */
  after: string
  severity: 'page' | 'ticket'
  summary: string
}

export function monitoringFiles(description: Description): RenderedFile[] {
  const file = (name: string, text: string): RenderedFile => ({
    path: `monitoring/${name}`,
    text,
    mode: PLAIN
  })
  return [
    file('prometheus.yml', prometheusText(description)),
    file('tributary.rules.yml', rulesText(alerts(description))),
    file('grafana-dashboard.json', `${JSON.stringify(dashboard(description), undefined, 2)}\n`)
  ]
}

/** Texts are quoted as JSON, which YAML understands. */
function prometheusText(description: Description): string {
  const targets = [
    ...hostsWith(description, 'tracker').map(host => ({
      host,
      role: 'tracker',
      port: PORTS.trackerAdmin,
      group: ''
    })),
    ...hostsWith(description, 'id').map(host => ({ host, role: 'id', port: PORTS.idAdmin, group: '' })),
    ...description.hosts.flatMap(host =>
      storagePlaces(description, host.name).map(({ group, admin }) => ({
        host,
        role: 'storage',
        port: admin,
        group
      }))
    ),
    ...hostsWith(description, 'gateway').map(host => ({
      host,
      role: 'gateway',
      port: gatewayAdminPort(description),
      group: ''
    })),
    ...hostsWith(description, 'worker').map(host => ({
      host,
      role: 'worker',
      port: PORTS.workerAdmin,
      group: ''
    }))
  ]
  const entries = targets.map(({ host, role, port, group }) => {
    const labels = [`node: ${quoted(host.name)}`, `role: ${quoted(role)}`]
    if (group !== '') labels.push(`of_group: ${quoted(group)}`)
    return `      - targets: [${quoted(`${host.address}:${port}`)}]\n        labels: { ${labels.join(', ')} }`
  })
  return `# Made by 'tributary deploy render'. Run Prometheus on a host of cluster.networks: the servers answer nobody else.
global:
  scrape_interval: ${SCRAPE}
  evaluation_interval: ${SCRAPE}
rule_files:
  - tributary.rules.yml
scrape_configs:
  - job_name: tributary
    static_configs:
${entries.join('\n')}
`
}

function alerts({ groups }: Description): Alert[] {
  const roles = ['tracker', 'id', 'storage']
  const each = (pattern: (role: string) => string): string => roles.map(pattern).join(' or ')
  return [
    {
      name: 'TributaryServerDown',
      expression: 'up{job="tributary"} == 0',
      after: '30s',
      severity: 'page',
      summary: '{{ $labels.role }} on {{ $labels.node }} does not answer'
    },
    ...groups.map(({ name, members }): Alert => ({
      name: 'TributaryGroupIncomplete',
      expression: `max by (group) (tributary_tracker_storages{group=${quoted(name)},status="ACTIVE"}) < ${members.length}`,
      after: '30s',
      severity: 'page',
      summary: `group ${name} has {{ $value }} of ${members.length} storage servers: another loss may stop it`
    })),
    {
      name: 'TributaryHeartbeatLate',
      expression: 'tributary_tracker_heartbeat_age_seconds > 15',
      after: '',
      severity: 'ticket',
      summary: 'no heartbeat of {{ $labels.address }} reaches {{ $labels.node }}'
    },
    {
      name: 'TributaryDatabaseDown',
      expression: 'tributary_tracker_database_up == 0 or tributary_id_database_up == 0',
      after: '15s',
      severity: 'page',
      summary: '{{ $labels.role }} on {{ $labels.node }} has no database: nothing can be stored'
    },
    {
      name: 'TributaryStoreUnusable',
      expression: 'tributary_storage_store_usable == 0',
      after: '15s',
      severity: 'page',
      summary: 'a store path on {{ $labels.node }} is missing, hangs, or is another one than its marker says'
    },
    {
      name: 'TributaryCopyMissing',
      expression: 'tributary_storage_store_copies < tributary_storage_store_copies_wanted',
      after: '1m',
      severity: 'page',
      summary: '{{ $labels.node }} reaches {{ $value }} copies of its store: another loss may stop the group'
    },
    {
      name: 'TributaryNotHealed',
      expression: 'tributary_storage_store_healed == 0',
      after: '1h',
      severity: 'ticket',
      summary: 'the copies of a store of {{ $labels.node }} are not alike: take no host down'
    },
    {
      name: 'TributaryStoreFilling',
      expression: 'tributary_storage_store_free_bytes / tributary_storage_store_size_bytes < 0.1',
      after: '10m',
      severity: 'ticket',
      summary: 'less than a tenth of a store on {{ $labels.node }} is free'
    },
    {
      name: 'TributaryStoreFull',
      expression: 'tributary_storage_store_free_bytes == 0',
      after: '1m',
      severity: 'page',
      summary: 'a store on {{ $labels.node }} takes no new files'
    },
    {
      name: 'TributarySweepAlert',
      expression: 'tributary_storage_sweep_alert == 1',
      after: '',
      severity: 'page',
      summary: 'index and disk do not fit each other: run fsck'
    },
    {
      name: 'TributaryOrphanedFiles',
      expression: 'tributary_storage_orphaned_files > 0',
      after: '3d',
      severity: 'ticket',
      summary: 'files that no row knows stay on {{ $labels.node }}: run fsck'
    },
    {
      name: 'TributaryCertificateExpiring',
      expression: `(tributary_gateway_certificate_expiry_timestamp_seconds - time()) / 86400 < ${CERTIFICATE_DAYS_MIN}`,
      after: '10m',
      severity: 'ticket',
      summary:
        'the certificate of the gateway on {{ $labels.node }} is good for {{ $value | printf "%.1f" }} days'
    },
    {
      name: 'TributaryInternalErrors',
      expression: each(
        role => `increase(tributary_${role}_requests_total{outcome=~"INTERNAL|CHECKSUM_MISMATCH"}[10m]) > 0`
      ),
      after: '',
      severity: 'ticket',
      summary: '{{ $labels.outcome }} on {{ $labels.node }}: this is never normal'
    },
    {
      name: 'TributaryEventLoopLate',
      expression: 'nodejs_eventloop_lag_seconds{job="tributary",quantile="0.99"} > 0.1',
      after: '5m',
      severity: 'ticket',
      summary: '{{ $labels.role }} on {{ $labels.node }} has more to do than one core can'
    },
    {
      name: 'TributaryRestarting',
      expression: 'changes(process_start_time_seconds{job="tributary"}[15m]) > 3',
      after: '',
      severity: 'page',
      summary: '{{ $labels.role }} on {{ $labels.node }} starts again and again: its log says why'
    }
  ]
}

function rulesText(list: readonly Alert[]): string {
  const rules = list.map(({ name, expression, after, severity, summary }) =>
    [
      `      - alert: ${name}`,
      `        expr: ${quoted(expression)}`,
      ...(after === '' ? [] : [`        for: ${after}`]),
      `        labels: { severity: ${severity} }`,
      `        annotations: { summary: ${quoted(summary)} }`
    ].join('\n')
  )
  return `# Made by 'tributary deploy render'.\ngroups:\n  - name: tributary\n    rules:\n${rules.join('\n')}\n`
}

interface Panel {
  title: string
  unit: string
  queries: readonly (readonly [expression: string, legend: string])[]
}

const RATE = '[$__rate_interval]'
const PANELS: readonly Panel[] = [
  {
    title: 'Servers that answer',
    unit: 'short',
    queries: [['sum by (role) (up{job="tributary"})', '{{role}}']]
  },
  {
    title: 'Storage servers by status',
    unit: 'short',
    queries: [['max by (group, status) (tributary_tracker_storages)', '{{group}} {{status}}']]
  },
  {
    title: 'Database answers',
    unit: 'short',
    queries: [
      ['tributary_tracker_database_up', 'tracker {{node}}'],
      ['tributary_id_database_up', 'id {{node}}']
    ]
  },
  {
    title: 'Free for new files',
    unit: 'bytes',
    queries: [['tributary_storage_store_free_bytes', '{{node}} {{of_group}}']]
  },
  {
    title: 'Copies that are reached',
    unit: 'short',
    queries: [
      ['tributary_storage_store_copies', '{{node}} {{of_group}}'],
      ['tributary_storage_store_unhealed_entries', 'not healed: {{node}} {{of_group}}']
    ]
  },
  {
    title: 'Requests of storage servers',
    unit: 'reqps',
    queries: [[`sum by (command) (rate(tributary_storage_requests_total${RATE}))`, '{{command}}']]
  },
  {
    title: 'Storage: 99th percentile of request time',
    unit: 's',
    queries: [
      [
        `histogram_quantile(0.99, sum by (le, command) (rate(tributary_storage_request_duration_seconds_bucket${RATE})))`,
        '{{command}}'
      ]
    ]
  },
  {
    title: 'HTTP responses',
    unit: 'reqps',
    queries: [
      [`sum by (route, status) (rate(tributary_gateway_responses_total${RATE}))`, '{{route}} {{status}}']
    ]
  },
  {
    title: 'Bytes to players',
    unit: 'Bps',
    queries: [
      [`sum by (node) (rate(tributary_gateway_sent_bytes_total${RATE}))`, 'sent {{node}}'],
      [`sum by (node) (rate(tributary_gateway_received_bytes_total${RATE}))`, 'received {{node}}']
    ]
  },
  {
    title: 'Outcomes other than ok',
    unit: 'reqps',
    queries: ['tracker', 'id', 'storage', 'gateway'].map(
      role =>
        [
          `sum by (outcome) (rate(tributary_${role}_requests_total{outcome!="ok"}${RATE}))`,
          `${role} {{outcome}}`
        ] as const
    )
  },
  {
    title: 'Heartbeat age',
    unit: 's',
    queries: [['tributary_tracker_heartbeat_age_seconds', '{{group}} {{address}} at {{node}}']]
  },
  {
    title: 'Event loop lag, 99th percentile',
    unit: 's',
    queries: [['nodejs_eventloop_lag_seconds{job="tributary",quantile="0.99"}', '{{role}} {{node}}']]
  },
  {
    title: 'Memory',
    unit: 'bytes',
    queries: [['process_resident_memory_bytes{job="tributary"}', '{{role}} {{node}}']]
  }
]

const PANEL_WIDTH = 12
const PANEL_HEIGHT = 8

function dashboard({ name }: Description): unknown {
  return {
    title: `Tributary: ${name}`,
    uid: `tributary-${name}`,
    tags: ['tributary'],
    schemaVersion: 38,
    version: 1,
    refresh: '10s',
    time: { from: 'now-1h', to: 'now' },
    templating: {
      list: [{ name: 'source', label: 'Data source', type: 'datasource', query: 'prometheus' }]
    },
    panels: PANELS.map(({ title, unit, queries }, at) => ({
      id: at + 1,
      title,
      type: 'timeseries',
      datasource: { type: 'prometheus', uid: '${source}' },
      gridPos: {
        x: (at % 2) * PANEL_WIDTH,
        y: Math.floor(at / 2) * PANEL_HEIGHT,
        w: PANEL_WIDTH,
        h: PANEL_HEIGHT
      },
      fieldConfig: { defaults: { unit, min: 0 }, overrides: [] },
      targets: queries.map(([expr, legendFormat], index) => ({
        refId: String.fromCharCode(65 + index),
        datasource: { type: 'prometheus', uid: '${source}' },
        expr,
        legendFormat
      }))
    }))
  }
}

function quoted(text: string): string {
  return JSON.stringify(text)
}
