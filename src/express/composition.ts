import { randomBytes, scryptSync } from 'node:crypto';
import type { Store } from 'express-session';
import type { Cipher, Clock, SharedValues } from '../core/ports.ts';
import { Provider } from '../protocol/provider.ts';
import { AccessTokenMemory } from '../storage/access-token-memory.ts';
import { boundedCache } from '../storage/bounded-cache.ts';
import { KeyRingCipher, PlainCipher } from '../storage/encryption.ts';
import { RedisCommands } from '../storage/redis-commands.ts';
import { redisValues } from '../storage/redis-values.ts';
import { bindStore, type RedisPlace } from '../storage/store-binding.ts';
import { CodeAcquisition } from '../tokens/acquire-by-code.ts';
import { AppAcquisition } from '../tokens/acquire-for-app.ts';
import { OnBehalfOfAcquisition } from '../tokens/acquire-on-behalf-of.ts';
import { SilentAcquisition, type TokenResult } from '../tokens/acquire-silent.ts';
import { CacheRecords } from '../tokens/cache-records.ts';
import { ProviderGate } from '../tokens/provider-gate.ts';
import { Refresher } from '../tokens/refresh.ts';
import { SessionRegistry } from '../tokens/session-registry.ts';
import { Bearers } from './bearers.ts';
import type { Context, Shared } from './context.ts';
import { diagnosticEvents } from './diagnostics.ts';
import { redemptionsOf } from './redemptions.ts';
import { HANDLE_FIELD } from './session.ts';
import type { Settings } from './settings.ts';

const REDIS_READ_MS = 400;
const STORE_READ_MS = 1000;

const MAX_GRANTED = 10_000;
const MAX_REGISTERED = 100_000;
const MAX_CACHE_BYTES = 512 * 1024;

/** What one `auth()` shares between its requests. */
export function makeShared(settings: Settings, clock: Clock): Shared {
  const provider = new Provider(settings, clock, settings.logger);
  const cipher = makeCipher(settings);
  const gate = new ProviderGate({ provider, clock, events: diagnosticEvents, settings });
  const client = `${settings.issuer.href} ${settings.clientId}`;
  const granted = { gate, clock, logger: settings.logger, random: Math.random, settings };
  const appTokens = new AppAcquisition({ ...granted, cache: boundedCache(MAX_GRANTED), cipher, client });
  // A job may ask for one before the first request names a session store, and an API without sessions has none.
  if (settings.redis !== undefined) appTokens.share(valuesIn(settings.redis, settings));
  return {
    settings,
    client,
    clock,
    provider,
    cipher,
    urlCipher: makeUrlCipher(settings, cipher),
    gate,
    memory: new AccessTokenMemory<TokenResult>(clock),
    normalized: new Map(),
    appTokens,
    onBehalfOf: new OnBehalfOfAcquisition({
      ...granted,
      cache: boundedCache(MAX_GRANTED),
      grant: settings.onBehalfOfGrant,
    }),
    bearers: new Bearers(settings, clock, provider),
  };
}

function valuesIn({ client, prefix }: RedisPlace, settings: Settings): SharedValues {
  return redisValues(new RedisCommands(client, deadlines(settings, REDIS_READ_MS), diagnosticEvents), prefix);
}

function deadlines({ storeReadTimeoutMs, storeWriteTimeoutMs }: Settings, defaultReadMs: number) {
  return { readMs: storeReadTimeoutMs ?? defaultReadMs, writeMs: storeWriteTimeoutMs };
}

function makeCipher({ encryptionKeys, hasSessions, logger }: Settings): Cipher {
  if (encryptionKeys === undefined) return new PlainCipher();
  if (encryptionKeys.length > 0) return new KeyRingCipher(encryptionKeys);
  const own = new KeyRingCipher([{ kid: 'process', key: randomBytes(32) }]);
  if (!hasSessions) return own;
  logger.warn(
    'No OIDC_ENCRYPTION_KEYS: tokens are encrypted with a key of this process, so users sign in again after a restart. Make a key with ' +
      `node -e "console.log('k1:' + require('crypto').randomBytes(32).toString('base64'))"`,
  );
  return own;
}

/**
 * What travels in a URL must not be forged where tokens are stored unencrypted, either. All processes of the app
 * make the same key from the client secret, by a slow function: what it seals is there for everybody to guess at.
 */
function makeUrlCipher({ encryptionKeys, clientSecret }: Settings, cipher: Cipher): Cipher {
  if (encryptionKeys !== undefined) return cipher;
  const key = clientSecret === undefined ? randomBytes(32) : scryptSync(clientSecret, 'login request', 32);
  return new KeyRingCipher([{ kid: 'url', key }]);
}

/** What it shares between the requests of one session store. */
export function makeContext(shared: Shared, store: Store): Context {
  const { settings, client, provider, clock, cipher, memory, gate } = shared;
  const { logger } = settings;
  const binding = bindStore(store, {
    client,
    redis: settings.redis,
    storeDeadlines: deadlines(settings, STORE_READ_MS),
    redisDeadlines: deadlines(settings, REDIS_READ_MS),
    logger,
    events: diagnosticEvents,
    handleField: HANDLE_FIELD,
  });
  const limits = { maxTokens: settings.maxTokens, maxBytes: MAX_CACHE_BYTES };
  const records = new CacheRecords(binding.tokens, cipher, limits, diagnosticEvents);
  gate.share(binding.patience);
  shared.appTokens.share(binding.values);
  const { backchannelLogout, frontchannelLogout } = settings.routes;
  const registry =
    backchannelLogout === false && frontchannelLogout === false
      ? undefined
      : new SessionRegistry({
          index: binding.index,
          cipher,
          clock,
          logger,
          registered: boundedCache(MAX_REGISTERED),
          client,
        });
  const parts = {
    client,
    provider,
    records,
    gate,
    clock,
    logger,
    events: diagnosticEvents,
    random: Math.random,
    settings,
  };
  const refresher = new Refresher(parts);
  return {
    ...shared,
    store,
    binding,
    records,
    silent: new SilentAcquisition({
      refresher,
      records,
      ended: (ref) => binding.guard.end(ref),
      memory,
      clock,
      logger,
      events: diagnosticEvents,
      settings,
    }),
    byCode: new CodeAcquisition(parts),
    redemptions: redemptionsOf(store),
    registry,
  };
}
