import { afterAll, afterEach, beforeAll, beforeEach } from '@jest/globals';
import { Browser } from '../support/browser.ts';
import { startProvider, type TestProvider } from '../support/provider.ts';
import { expectSafe, type RecordedApp, startRecordedApp } from './attacks-support.ts';

/** One provider for the file that imports this; an app and a browser for each of its tests. */
export let provider: TestProvider;
export let stage: RecordedApp;
export let browser: Browser;

beforeAll(async () => {
  provider = await startProvider();
});
beforeEach(async () => {
  provider.clearCalls();
  provider.tamper = {};
  browser = new Browser({ account: 'alice' });
  stage = await startRecordedApp(provider);
});
afterEach(async () => {
  browser.close();
  await stage.app.close();
});
afterAll(() => provider.close());

export function metadata(changes: Record<string, unknown>): void {
  provider.tamper.discovery = (document) => ({ ...document, ...changes });
}

export function safe(page: Parameters<typeof expectSafe>[0], ...only: number[]): void {
  expectSafe(page, { app: stage.app, provider, only });
}
