import { expect, test } from '@jest/globals';
import { startApp } from '../support/app.ts';
import { browser, provider } from './attacks-stage.ts';

test('a login for an audience: its own token is the one for the userinfo endpoint', async () => {
  const app = await startApp({
    provider,
    auth: { scopes: 'openid profile', authorizationParams: { audience: 'https://api.example' } },
    routes: (site) => {
      site.get('/userinfo', async (req, res) => void res.json(await req.oidc.fetchUserInfo()));
    },
  });
  try {
    await browser.login(app);
    expect((await browser.fetchJson(`${app.url}/userinfo`)).json).toMatchObject({ sub: 'alice' });
    expect(provider.refreshCalls).toEqual([]);
  } finally {
    await app.close();
  }
});
