import type { SessionData, Store } from 'express-session';
import type {
  Events,
  Logger,
  PatienceStore,
  SessionIndex,
  SharedValues,
  TokenStore,
  TransactionStore,
} from '../core/ports.ts';
import { limitStore } from './limit-store.ts';
import { redisPatience, sessionPatience } from './patience-store.ts';
import { patienceId } from './record-ids.ts';
import { redisWarnings } from './redis-advice.ts';
import { isRedisClient, type RedisClient, RedisCommands, type RedisDeadlines } from './redis-commands.ts';
import { RedisTokenStore, RedisTransactionStore } from './redis-token-store.ts';
import { redisValues } from './redis-values.ts';
import { SessionGuard, type UpdateSession } from './session-guard.ts';
import { redisIndex, StoreSessionIndex } from './session-index.ts';
import { SessionStoreCalls, type StoreDeadlines } from './session-store-calls.ts';
import { SessionTokenStore, SessionTransactionStore } from './session-token-store.ts';
import { TimedLock } from './timed-lock.ts';

/** Everything that is kept beside the sessions of one store. */
export interface StoreBinding {
  readonly tokens: TokenStore;
  readonly transactions: TransactionStore;
  readonly guard: SessionGuard;
  readonly index: SessionIndex;
  /** Undefined where no other process shares the store. */
  readonly patience: PatienceStore | undefined;
  /** For the app's own tokens; undefined where they stay in this process. */
  readonly values: SharedValues | undefined;
}

export interface BindingOptions {
  /** What this app's processes have in common and others in the same store have not: its issuer and client. */
  readonly client: string;
  /** The app's own choice; without one it is found from the session store. */
  readonly redis: RedisPlace | undefined;
  readonly storeDeadlines: StoreDeadlines;
  readonly redisDeadlines: RedisDeadlines;
  readonly logger: Logger;
  readonly events: Events;
  readonly handleField: string;
}

/** Where in Redis the records are. */
export interface RedisPlace {
  readonly client: RedisClient;
  readonly prefix: string;
}

/** What the clients of one store share, and what each has of its own. */
interface SharedBinding extends Omit<StoreBinding, 'patience'> {
  patienceOf(client: string): PatienceStore | undefined;
}

const bindings = new WeakMap<Store, SharedBinding>();

/** One binding per store and process: two middlewares over one store must not refresh beside each other. */
export function bindStore(store: Store, options: BindingOptions): StoreBinding {
  const { patienceOf, ...shared } = bindings.get(store) ?? bindAnew(store, options);
  return { ...shared, patience: patienceOf(options.client) };
}

function bindAnew(store: Store, options: BindingOptions): SharedBinding {
  if (!isInProcess(store)) limitStore(store, options.storeDeadlines, options);
  const engine = options.redis ?? redisOf(store);
  const binding = engine === undefined ? bindAnyStore(store, options) : bindRedis(store, engine, options);
  bindings.set(store, binding);
  return binding;
}

/** connect-redis has its client and prefix as fields. */
function redisOf(store: Store): RedisPlace | undefined {
  const { client, prefix } = store as { client?: unknown; prefix?: unknown };
  return isRedisClient(client) && typeof prefix === 'string' ? { client, prefix } : undefined;
}

function bindRedis(store: Store, { client, prefix }: RedisPlace, options: BindingOptions): SharedBinding {
  const { redisDeadlines, events, logger, handleField } = options;
  const commands = new RedisCommands(client, redisDeadlines, events);
  warnAboutServer(commands, logger);
  const tokens = new RedisTokenStore(commands, prefix, events);
  const own = redisOf(store);
  const updateSession =
    own === undefined
      ? readFirst(store)
      : updateInRedis(store, new RedisCommands(own.client, redisDeadlines, events), own.prefix);
  return {
    tokens,
    transactions: new RedisTransactionStore(commands, prefix),
    index: redisIndex(commands, prefix),
    patienceOf: (client) => redisPatience(commands, `${prefix}${patienceId(client)}`),
    values: redisValues(commands, prefix),
    guard: new SessionGuard({ store, tokens, logger, handleField, updateSession }),
  };
}

/** Once; a server that does not say, or not to this client, is taken as it is. */
function warnAboutServer(commands: RedisCommands, logger: Logger): void {
  commands.read('default', 'INFO').then(
    (info) => {
      for (const warning of redisWarnings(String(info))) logger.warn(warning);
    },
    () => undefined,
  );
}

function bindAnyStore(store: Store, options: BindingOptions): SharedBinding {
  const { storeDeadlines, events, logger, handleField } = options;
  const calls = new SessionStoreCalls(store, storeDeadlines, events);
  const isOwn = isInProcess(store);
  const lock = isOwn ? undefined : new TimedLock(calls);
  const tokens = new SessionTokenStore(calls, lock, events);
  return {
    tokens,
    transactions: new SessionTransactionStore(calls, lock),
    index: new StoreSessionIndex(calls, lock),
    patienceOf: (client) => (isOwn ? undefined : sessionPatience(calls, patienceId(client))),
    values: undefined,
    guard: new SessionGuard({
      store,
      tokens,
      logger,
      handleField,
      updateSession: isOwn ? trustGuard : readFirst(store),
    }),
  };
}

/** A store in this process's memory has no other process to agree with. */
function isInProcess(store: Store): boolean {
  return store.constructor.name === 'MemoryStore';
}

/** Nobody but this process ends sessions, and it remembers which. */
const trustGuard: UpdateSession = (_id, _session, done) => done(undefined, 'unsaved');

/** Looks first. Between the look and the save another process may still end the session. */
function readFirst(store: Store): UpdateSession {
  const { get } = store;
  return (id, _session, done) => {
    get.call(store, id, (error: unknown, found) => done(error, found ? 'unsaved' : false));
  };
}

interface RedisSessionStore {
  readonly serializer?: { stringify(session: unknown): string };
  readonly ttl?: number | ((session: SessionData) => number);
  readonly disableTTL?: boolean;
}

const DAY_SECONDS = 86_400;

/** `SET … XX`, with the store's own serializer, time to live and prefix. */
function updateInRedis(store: Store, commands: RedisCommands, prefix: string): UpdateSession {
  return (id, session, done) => {
    const { serializer = JSON, disableTTL = false } = store as RedisSessionStore;
    const seconds = secondsToLive(store as RedisSessionStore, session);
    // What has expired the store itself removes.
    if (!(seconds > 0)) return done(undefined, 'unsaved');
    const expiry = disableTTL ? [] : ['EX', String(Math.ceil(seconds))];
    let text: string;
    try {
      text = serializer.stringify(session);
    } catch (error) {
      return done(error, false);
    }
    commands.write(prefix + id, 'SET', text, ...expiry, 'XX').then(
      (answer) => done(undefined, answer !== null),
      (error: unknown) => done(error, false),
    );
  };
}

/** As connect-redis has it: its function says, else the cookie, else its number. */
function secondsToLive({ ttl = DAY_SECONDS }: RedisSessionStore, session: SessionData): number {
  if (typeof ttl === 'function') return ttl(session);
  const { expires } = session.cookie;
  return expires ? (Number(new Date(expires)) - Date.now()) / 1000 : ttl;
}
