import '../support/quiet.ts';

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, describe, expect, test } from '@jest/globals';
import { auth } from 'express-oidc-tokens';
import { type Stop, stopAll } from '../../sample-app/listen.ts';
import { startServers } from '../../sample-app/servers.ts';
import { SettingsError, settingsFrom } from '../../sample-app/settings.ts';
import { NightlyJob } from '../../sample-app/web-app/nightly-job.ts';
import { freePorts } from './sample-app-setup.ts';

describe("the sample's settings", () => {
  test('nothing set: everything is local', () => {
    const { baseUrl, realProvider, access, rules, stepUpAcr } = settingsFrom({
      OIDC_CLIENT_ID: 'left over',
      MAIL_SCOPES: 'x',
    });
    expect({ baseUrl, realProvider, stepUpAcr }).toEqual({
      baseUrl: 'http://localhost:3000',
      realProvider: undefined,
      stepUpAcr: 'second-factor',
    });
    expect(access.mail).toEqual({
      url: 'http://localhost:3002/mail',
      scopes: 'mail.read',
      resource: 'http://localhost:3002/mail',
    });
    expect(rules.calendar).toEqual({ audience: 'http://localhost:3002/calendar', scope: 'calendar.read' });
    expect(rules.directory?.audience).toBe('http://localhost:3003/directory');
  });

  test('a real provider: only what was set is asked for', () => {
    const real = { OIDC_ISSUER: 'https://login.example', OIDC_CLIENT_ID: 'me' };
    expect(settingsFrom(real)).toMatchObject({
      realProvider: { issuer: 'https://login.example', app: { clientId: 'me' } },
      access: {},
      rules: {},
    });
    const entra = {
      MAIL_SCOPES: 'api://1/mail.read',
      MAIL_EXPECTED_AUDIENCE: '1',
      MAIL_EXPECTED_SCOPE: 'mail.read',
    };
    const { access, rules } = settingsFrom({
      ...real,
      ...entra,
      CALENDAR_SCOPES: 'c',
      CALENDAR_AUDIENCE: 'urn:c',
    });
    expect(access).toEqual({
      mail: { url: 'http://localhost:3002/mail', scopes: 'api://1/mail.read' },
      calendar: { url: 'http://localhost:3002/calendar', scopes: 'c', audience: 'urn:c' },
    });
    expect(rules).toEqual({
      mail: { audience: '1', scope: 'mail.read' },
      calendar: { audience: 'urn:c', scope: 'c' },
    });
  });

  test.each([
    [{ OIDC_ISSUER: 'https://login.example' }, 'Set OIDC_CLIENT_ID as your provider shows it'],
    [{ PORT: 'web' }, 'Set it to a port number between 1 and 65535'],
  ])('%j: an error that says what to do', (env, words) => {
    expect(() => settingsFrom(env)).toThrow(SettingsError);
    expect(() => settingsFrom(env)).toThrow(words);
  });
});

describe('npm start', () => {
  let running: ChildProcess | undefined;
  afterEach(() => {
    running?.kill('SIGKILL');
    running = undefined;
  });

  test('says where to go, keeps to its ports, and ends cleanly on SIGTERM', async () => {
    const env = await freePorts();
    const { PORT: web, PROVIDER_PORT: provider, API_PORT: api, DIRECTORY_PORT: directory } = env;
    const { child, output } = start(env);
    running = child;
    while (child.exitCode === null && !output().includes('Ctrl-C')) await delay(50);
    expect(output()).toContain(`Open http://localhost:${web}`);
    expect((await fetch(`http://localhost:${web}/`)).status).toBe(200);
    expect((await fetch(`http://localhost:${api}/mail`)).status).toBe(401);
    expect((await fetch(`http://localhost:${directory}/directory`)).status).toBe(401);
    const discovery = await fetch(`http://localhost:${provider}/.well-known/openid-configuration`);
    expect(await discovery.json()).toMatchObject({ issuer: `http://localhost:${provider}` });

    const second = start({ ...(await freePorts()), PORT: `${web}` });
    expect(await once(second.child, 'exit')).toEqual([1, null]);
    expect(second.output()).toContain(`Port ${web}, for the web app, is in use. Choose another one (PORT=`);
    expect(second.output()).not.toMatch(/^ +at /m);

    child.kill('SIGTERM');
    expect(await once(child, 'exit')).toEqual([0, null]);
  }, 60_000);

  function start(env: Record<string, string>): { child: ChildProcess; output: () => string } {
    const { PATH, HOME } = process.env;
    const child = spawn(process.execPath, ['--import', 'tsx', 'sample-app/start.ts'], {
      env: { PATH, HOME, ...env },
    });
    let text = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (text += chunk));
    return { child, output: () => text };
  }
});

describe("the sample's nightly job", () => {
  const started: Stop[] = [];
  afterEach(() => stopAll(started));

  test('runs by itself, with one token as long as that is good; a run that fails is noted, and the next one comes', async () => {
    const settings = settingsFrom(await freePorts());
    const { issuer, client } = await startServers(settings, started, 120);
    const oidc = auth({ session: false, issuer, ...client });
    started.push(oidc.close);
    const job = new NightlyJob(oidc, settings.access.statistics!, 0.02);
    started.push(() => job.stop());
    while (job.runs.length < 2) await delay(10);
    await job.stop();
    expect(job.runs[0]).toMatchObject({ token: { source: 'cache' }, answer: { messages: { alice: 3 } } });
    expect(await (await fetch(`${issuer}/grants/sample-app`)).json()).toEqual({ client_credentials: 1 });

    const lost = new NightlyJob(oidc, { ...settings.access.statistics!, url: `${issuer}/nowhere` }, 0.02);
    started.push(() => lost.stop());
    while (lost.runs.length < 2) await delay(10);
    expect(lost.runs[0]).toMatchObject({ failure: expect.stringContaining('answered 404') });
  });
});
