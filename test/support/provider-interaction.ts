import type { InteractionResults, KoaContextWithOIDC, Provider } from 'oidc-provider';
import type { ProviderSettings } from './provider-settings.ts';

/** A Browser names its account in this header, so that many users can sign in at one provider at the same time. */
export const ACCOUNT_HEADER = 'x-test-account';

type Context = Pick<KoaContextWithOIDC, 'headers'>;

/** The account that must sign in, even over another one's running session; `undefined`: whoever is there. */
export function wantedAccount(ctx: Context, settings: ProviderSettings): string | undefined {
  const named = ctx.headers[ACCOUNT_HEADER];
  return typeof named === 'string' ? named : settings.nextLogin;
}

function acrFor(params: Record<string, unknown>): string {
  const asked = typeof params.acr_values === 'string' ? params.acr_values.split(' ')[0] : undefined;
  if (asked) return asked;
  if (typeof params.claims !== 'string') return 'pwd';
  const claims: { id_token?: { acr?: { value?: string; values?: string[] } } } = JSON.parse(params.claims);
  const acr = claims.id_token?.acr;
  return acr?.value ?? acr?.values?.[0] ?? 'pwd';
}

async function agreedGrant(provider: Provider, details: Awaited<ReturnType<Provider['interactionDetails']>>) {
  const { grantId, params, prompt, session } = details;
  const existing = grantId ? await provider.Grant.find(grantId) : undefined;
  const grant =
    existing ??
    new provider.Grant({ accountId: session?.accountId ?? '', clientId: String(params.client_id) });
  const missing = prompt.details as {
    missingOIDCScope?: string[];
    missingOIDCClaims?: string[];
    missingResourceScopes?: Record<string, string[]>;
  };
  grant.addOIDCScope((missing.missingOIDCScope ?? []).join(' '));
  grant.addOIDCClaims(missing.missingOIDCClaims ?? []);
  for (const [resource, scopes] of Object.entries(missing.missingResourceScopes ?? {})) {
    grant.addResourceScope(resource, scopes.join(' '));
  }
  return grant.save();
}

function page(prompt: string, account: string): string {
  return `<!DOCTYPE html><title>${prompt}</title><form method="post" data-interaction="${prompt}">
<input name="account" value="${account}"/>
<button name="answer" value="allow">Allow</button><button name="answer" value="deny">Deny</button></form>`;
}

async function readForm(ctx: KoaContextWithOIDC): Promise<URLSearchParams> {
  const chunks: Buffer[] = [];
  for await (const chunk of ctx.req) chunks.push(chunk);
  return new URLSearchParams(Buffer.concat(chunks).toString());
}

/** Answers `/interaction/…`: at once (`consent: 'auto'`), or by a page with a form (`ask`). */
export async function interact(
  ctx: KoaContextWithOIDC,
  provider: Provider,
  settings: ProviderSettings,
): Promise<void> {
  const details = await provider.interactionDetails(ctx.req, ctx.res);
  const { params, prompt } = details;
  const hint = typeof params.login_hint === 'string' ? params.login_hint : undefined;
  const account = wantedAccount(ctx, settings) ?? hint ?? 'alice';
  const ask = settings.consent === 'ask';
  if (ask && ctx.method === 'GET') {
    ctx.type = 'html';
    ctx.body = page(prompt.name, account);
    return;
  }
  const form = ctx.method === 'POST' ? await readForm(ctx) : new URLSearchParams();
  let result: InteractionResults = { select_account: {} };
  if (form.get('answer') === 'deny') {
    result = { error: 'access_denied', error_description: 'End-User aborted interaction' };
  } else if (prompt.name === 'login') {
    result.login = {
      accountId: form.get('account') ?? account,
      acr: acrFor(params),
      amr: ['pwd'],
      remember: true,
    };
    if (!ask) result.consent = {};
  } else if (prompt.name === 'consent') {
    result.consent = ask ? { grantId: await agreedGrant(provider, details) } : {};
  }
  ctx.status = 303;
  ctx.redirect(await provider.interactionResult(ctx.req, ctx.res, result));
}
