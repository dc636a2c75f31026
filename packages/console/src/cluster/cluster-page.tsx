/** Whether all is well, and if not, what is wrong: first in a sentence, then in figures. */
import type { Cluster, ClusterGroup, ClusterMember } from '@tributary/gateway/contract'
import { useEffect } from 'preact/hooks'
import { formatAgo, formatBytes, formatCount, formatShare } from '../format.ts'
import { Icon } from '../parts/icon.tsx'
import { language, texts } from '../settings.ts'
import {
  cluster,
  connections,
  isLost,
  memberKey,
  ofMembers,
  traffic,
  trouble,
  watchCluster
} from './cluster-feed.ts'
import { wordsOf } from './fault-words.ts'
import { Plot } from './plot.tsx'

export function ClusterPage() {
  const t = texts.value
  useEffect(watchCluster, [])
  const now = cluster.value
  return (
    <>
      <div class="page-head">
        <h1 tabIndex={-1}>{t.cluster}</h1>
      </div>
      {trouble.value !== '' && (
        <p class="note bad" role="alert">
          {trouble.value}
        </p>
      )}
      {isLost.value && now && trouble.value === '' && (
        <p class="note warn" role="status">
          {t.clusterLost}
        </p>
      )}
      {!now && trouble.value === '' && <p class="facts">{t.loading}</p>}
      {now && (
        <>
          <Verdict now={now} />
          <Gateway now={now} />
          {now.groups.map(group => (
            <Group key={group.name} group={group} at={now.at} />
          ))}
          <Trackers now={now} />
        </>
      )}
    </>
  )
}

function Verdict({ now }: { now: Cluster }) {
  const t = texts.value
  if (now.faults.length === 0) {
    return (
      <p class="note good verdict" role="status">
        <Icon name="check" />
        <strong>{t.clusterWell}</strong>
      </p>
    )
  }
  const isBad = now.faults.some(({ severity }) => severity === 'error')
  return (
    <div class={isBad ? 'note bad verdict' : 'note warn verdict'} role="status">
      <Icon name="warning" />
      <div>
        <strong>{t.clusterFaults(now.faults.length)}</strong>
        <ul>
          {now.faults.map((fault, index) => (
            <li key={index}>{wordsOf(fault, t)}</li>
          ))}
        </ul>
      </div>
    </div>
  )
}

function Gateway({ now: { gateway, at } }: { now: Cluster }) {
  const t = texts.value
  const sent = t.perSecond(formatBytes(gateway.bytesSentPerS, language.value))
  const received = t.perSecond(formatBytes(gateway.bytesReceivedPerS, language.value))
  const open = formatCount(gateway.connections, language.value)
  return (
    <section class="card" aria-labelledby="gateway-title">
      <h2 id="gateway-title">{t.gateways}</h2>
      <div class="gauges">
        <div class="gauge">
          <p class="facts">{t.throughput}</p>
          <p class="figures">
            <span class="figure line-1">
              {t.reading} <strong>{sent}</strong>
            </span>
            <span class="figure line-2">
              {t.writing} <strong>{received}</strong>
            </span>
          </p>
          <Plot
            series={traffic}
            at={at}
            colours={['--accent', '--second']}
            label={`${t.throughput}: ${sent}, ${received}`}
          />
        </div>
        <div class="gauge">
          <p class="facts">{t.connections}</p>
          <p class="figures">
            <strong>{open}</strong>
          </p>
          <Plot series={connections} at={at} colours={['--accent']} label={`${t.connections}: ${open}`} />
        </div>
      </div>
    </section>
  )
}

function Group({ group, at }: { group: ClusterGroup; at: string }) {
  const t = texts.value
  const titleId = `group-${group.name}`
  return (
    <section class="card" aria-labelledby={titleId}>
      <h2 id={titleId}>
        {t.group(group.name)}
        {group.region !== '' && <span class="tag">{group.region}</span>}
        {group.draining && <span class="tag">{t.draining}</span>}
      </h2>
      <ul class="members">
        {group.members.map(member => (
          <Member key={memberKey(group.name, member)} member={member} group={group.name} at={at} />
        ))}
      </ul>
    </section>
  )
}

function Member({ member, group, at }: { member: ClusterMember; group: string; at: string }) {
  const t = texts.value
  const { hostName, status, freeBytes, totalBytes, beatAt, bytesPerS, copies, copiesWanted, reason } = member
  const states = { ACTIVE: t.stateActive, ONLINE: t.stateOnline, OFFLINE: t.stateOffline }
  const isWell = status === 'ACTIVE' && member.serving && member.taking
  const used = totalBytes > 0 ? 1 - freeBytes / totalBytes : 0
  const rate = t.perSecond(formatBytes(bytesPerS, language.value))
  const series = ofMembers.get(memberKey(group, member))
  const state =
    status !== 'ACTIVE'
      ? states[status]
      : !member.serving
        ? t.notServing
        : !member.taking
          ? t.notTaking
          : states.ACTIVE
  return (
    <li class={`member is-${isWell ? 'well' : status === 'OFFLINE' ? 'bad' : 'warn'}`}>
      <div class="member-head">
        <span class="dot" aria-hidden="true" />
        <strong>{hostName}</strong>
        <span>{state}</span>
        {member.legacy && <span class="tag">{t.legacy}</span>}
      </div>
      {reason && <p class="facts bad">{reason}</p>}
      <dl class="member-facts">
        <div>
          <dt>{t.space}</dt>
          <dd>
            <meter
              min={0}
              max={1}
              high={0.9}
              value={used}
              aria-label={`${t.space} ${hostName}: ${formatShare(used, language.value)}`}
            />
            <span>
              {t.free(formatBytes(freeBytes, language.value), formatBytes(totalBytes, language.value))}
            </span>
          </dd>
        </div>
        <div>
          <dt>{t.throughput}</dt>
          <dd>
            {series && (
              <Plot
                series={series}
                at={at}
                colours={['--accent']}
                height={28}
                label={`${hostName}: ${rate}`}
              />
            )}
            <span>{rate}</span>
          </dd>
        </div>
        <div>
          <dt>{t.connections}</dt>
          <dd>{formatCount(member.connections, language.value)}</dd>
        </div>
        {copies !== null && copiesWanted !== null && (
          <div>
            <dt>{t.copies}</dt>
            <dd>{t.copiesOf(copies, copiesWanted)}</dd>
          </div>
        )}
        <div>
          <dt>{t.heartbeat}</dt>
          <dd>{beatAt === null ? t.never : formatAgo(Date.parse(beatAt), Date.parse(at), language.value)}</dd>
        </div>
        <div>
          <dt>{t.address}</dt>
          <dd>{member.addresses.join(', ')}</dd>
        </div>
      </dl>
    </li>
  )
}

function Trackers({ now: { trackers } }: { now: Cluster }) {
  const t = texts.value
  return (
    <section class="card" aria-labelledby="trackers-title">
      <h2 id="trackers-title">{t.trackers}</h2>
      <ul class="members">
        {trackers.map(({ address, answers, roundTripMs, version, reason }) => (
          <li key={address} class={`member is-${answers ? 'well' : 'bad'}`}>
            <div class="member-head">
              <span class="dot" aria-hidden="true" />
              <strong>{address}</strong>
              <span>
                {answers
                  ? t.answersIn(formatCount(Math.ceil(roundTripMs ?? 0), language.value))
                  : t.stateOffline}
              </span>
              {version !== null && <span class="tag">{version}</span>}
            </div>
            {reason !== null && <p class="facts bad">{reason}</p>}
          </li>
        ))}
      </ul>
    </section>
  )
}
