import { afterEach, expect, test } from '@jest/globals';
import type { TestProvider, TokenCall } from '../support/provider.ts';
import { travel } from '../support/time.ts';
import { closeAll, openApp, openBrowser, openProvider, signedIn } from './session-support.ts';

afterEach(closeAll);

const EXPIRED = 'AADSTS7000222: The provided client secret keys are expired.';

const ODD_SECRET = 'a secret/with +%&';

/** A provider that quotes all that it was sent. */
function refuse(provider: TestProvider): TokenCall[] {
  const calls: TokenCall[] = [];
  provider.scriptAlways((call) => {
    calls.push(call);
    const secrets = [provider.client.clientSecret, ODD_SECRET, encodeURIComponent(ODD_SECRET)];
    const quoted = JSON.stringify([Object.values(call.params), secrets]);
    return { status: 401, json: { error: 'invalid_client', error_description: `${EXPIRED} ${quoted}` } };
  });
  return calls;
}

test.each(['client_secret_basic', 'client_secret_post'] as const)(
  'a client that is refused: the log has the words of the provider, without what it quotes (%s)',
  async (clientAuth) => {
    const provider = await openProvider();
    const app = await openApp(provider, { auth: { clientAuth } });
    const browser = await signedIn(app);
    const calls = refuse(provider);
    await openBrowser().login(app);
    travel(3700);
    expect(await browser.navigate(`${app.url}/token`)).toMatchObject({ status: 500 });
    const errors = app.logs
      .filter(({ level }) => level === 'error')
      .map(({ details }) => JSON.stringify(details));
    expect(errors.filter((details) => details.includes('client secret keys are expired'))).toHaveLength(2);
    expect(calls.map(({ params }) => params.grant_type)).toEqual(['authorization_code', 'refresh_token']);
    const secrets = calls.flatMap(({ params }) => [params.code, params.code_verifier, params.refresh_token]);
    for (const secret of [...secrets, provider.client.clientSecret])
      if (secret !== undefined) expect(app.logText()).not.toContain(secret);
    const other = await openApp(provider, { auth: { clientAuth, clientSecret: ODD_SECRET } });
    await openBrowser().login(other);
    expect(other.logText()).toContain('client secret keys are expired');
    for (const secret of [ODD_SECRET, encodeURIComponent(ODD_SECRET)])
      expect(other.logText()).not.toContain(secret);
  },
);
