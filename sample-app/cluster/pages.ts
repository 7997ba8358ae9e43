import { type Html, html } from '../html.ts';
import { page, type Visitor } from '../web-app/layout.ts';

/** One request: which process served it, and with which token. */
export interface Served {
  name: string;
  pid: number;
  /** A mark of the access token, to tell whether two are the same. */
  token: string;
  source: 'cache' | 'provider';
  expiresIn: number;
}

/** Many requests at once. */
export interface Storm {
  served: (Served | undefined)[];
  /** That the provider saw meanwhile. */
  refreshes: number;
  tookMs: number;
}

export interface ClusterFacts {
  served: Served;
  /** That the provider has seen for this user since the start. */
  refreshes: number;
  storm?: Storm;
}

export function clusterPage(visitor: Visitor, { served, refreshes, storm }: ClusterFacts): string {
  const from = served.source === 'cache' ? 'the cache' : 'the provider, just now';
  const body = html`<h1>Several processes, one refresh</h1>
${storm && stormCard(storm)}
<section class="card">
  <h2>This page</h2>
  <dl>
    <dt>was served by</dt><dd id="process">process ${served.name} (pid ${served.pid})</dd>
    <dt>its token came from</dt><dd id="source">${from}</dd>
    <dt>and expires in</dt><dd id="expires">${served.expiresIn} s</dd>
    <dt>refreshes, says the provider</dt><dd id="refreshes">${refreshes}</dd>
  </dl>
  <p class="actions"><a class="button" href="/cluster/storm">Wait for the expiry, then send 30 requests at once</a>
  <a class="button quiet" href="/cluster">Reload</a></p>
</section>
<p class="soft">Tokens live for seconds here. The refresh token works once: a provider that sees one a second time
ends the whole sign-in. End a process (<code>kill -9 ${served.pid}</code>) and reload: you stay signed in, and another
process takes its place.</p>`;
  return page('Cluster', visitor, '/cluster', body);
}

function stormCard({ served, refreshes, tookMs }: Storm): Html {
  const answered = served.filter((one) => one !== undefined);
  const tokens = new Set(answered.map(({ token }) => token));
  const names = [...new Set(answered.map(({ name }) => name))].sort();
  return html`<section class="card" aria-label="The requests">
  <h2>${served.length} requests at once, right after the expiry</h2>
  <dl>
    <dt>at the provider</dt><dd id="storm-refreshes"><strong>${refreshes} ${refreshes === 1 ? 'refresh' : 'refreshes'}</strong></dd>
    <dt>answered</dt><dd id="storm-answered">${answered.length} of ${served.length}, in ${Math.round(tookMs)} ms</dd>
    <dt>different tokens</dt><dd id="storm-tokens">${tokens.size}</dd>
${names.map((name) => {
  const share = answered.filter((one) => one.name === name).length;
  return html`    <dt>process ${name}</dt><dd>${share} of them</dd>\n`;
})}  </dl>
</section>`;
}
