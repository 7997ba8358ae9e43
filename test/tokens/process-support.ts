import { scopeSet } from '../../src/core/scopes.ts';
import type { SignedIn } from '../../src/core/session-handle.ts';
import { normalizeAnswer, readAnswer } from '../../src/core/token-answer.ts';
import { type NormalizedRequest, normalizeRequest, type TokenRequest } from '../../src/core/token-request.ts';
import type { Transaction } from '../../src/core/transaction.ts';
import { parseOptions } from '../../src/express/settings.ts';
import { Provider } from '../../src/protocol/provider.ts';
import { AccessTokenMemory } from '../../src/storage/access-token-memory.ts';
import { KeyRingCipher } from '../../src/storage/encryption.ts';
import type { StoreBinding } from '../../src/storage/store-binding.ts';
import { CodeAcquisition } from '../../src/tokens/acquire-by-code.ts';
import { SilentAcquisition, type TokenResult } from '../../src/tokens/acquire-silent.ts';
import { CacheRecords } from '../../src/tokens/cache-records.ts';
import { ProviderGate } from '../../src/tokens/provider-gate.ts';
import { Refresher } from '../../src/tokens/refresh.ts';
import { type RecordedEvents, recordEvents } from '../storage/engine-support.ts';
import { openidClient, signIn } from '../support/client.ts';
import type { TestProvider } from '../support/provider.ts';

/** Of access tokens. */
export const LIFETIME = 600;

const SCOPES = 'openid profile offline_access a b c';
const cipher = new KeyRingCipher([{ kid: 'k1', key: new Uint8Array(32) }]);

/** What one process of an app has for its tokens, without Express: put together as `auth()` does it. */
export interface AppProcess {
  silent: SilentAcquisition;
  refresher: Refresher;
  byCode: CodeAcquisition;
  records: CacheRecords;
  events: RecordedEvents;
  logs: { level: string; message: string; details: object | undefined }[];
  getToken(session: SignedIn, input?: TokenRequest): Promise<TokenResult>;
}

type Parts = Pick<StoreBinding, 'tokens'> &
  Partial<Pick<StoreBinding, 'patience'>> & { events?: RecordedEvents; callerTimeoutMs?: number };

export function openProcess(provider: TestProvider, parts: Parts): AppProcess {
  const { tokens, events = recordEvents(), callerTimeoutMs = 60_000 } = parts;
  const logs: AppProcess['logs'] = [];
  const log = (level: string) => (message: string, details?: object) =>
    void logs.push({ level, message, details });
  const logger = { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') };
  const { issuer, client } = provider;
  const settings = parseOptions(
    { issuer, ...client, baseUrl: 'http://127.0.0.1:9', scopes: SCOPES, callerTimeoutMs, logger },
    {},
  );
  const clock = { now: () => Date.now() / 1000 };
  const connector = new Provider(settings, clock, logger);
  const memory = new AccessTokenMemory<TokenResult>(clock);
  const records = new CacheRecords(tokens, cipher, { maxTokens: 250, maxBytes: 512 * 1024 }, events);
  const gate = new ProviderGate({ provider: connector, clock, events, settings });
  gate.share(parts.patience);
  const common = { provider: connector, records, clock, logger, events, settings, random: () => 0.5 };
  const refresher = new Refresher({ ...common, gate });
  const silent = new SilentAcquisition({ ...common, refresher, memory });
  return {
    silent,
    refresher,
    byCode: new CodeAcquisition({ ...common, client: 'web-app' }),
    records,
    events,
    logs,
    getToken: (session, input) => silent.acquire(session, tokenRequest(input)),
  };
}

function tokenRequest(input: TokenRequest = {}): NormalizedRequest {
  return normalizeRequest(input, { scopes: ['a', 'b', 'c'], target: {}, resources: {} });
}

/** Signs alice in and stores her tokens as the callback does. */
export async function login({ byCode }: AppProcess, provider: TestProvider): Promise<SignedIn> {
  const response = await signIn(await openidClient(provider));
  const claims = response.claims();
  const answer = readAnswer(normalizeAnswer({ ...response }));
  if (claims === undefined || answer === undefined) throw new Error('the login gave no tokens');
  const transaction = { kind: 'login', scopes: scopeSet(SCOPES.split(' ')), resources: [], target: {} };
  const sessionMs = 24 * 3_600_000;
  const handle = await byCode.store(
    { answer, claims },
    transaction as unknown as Transaction,
    undefined,
    sessionMs,
  );
  return { handle, sessionId: 'session', sessionMs };
}
