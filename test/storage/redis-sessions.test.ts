import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { RedisStore } from 'connect-redis';
import type { Request } from 'express';
import type { SessionData, Store } from 'express-session';
import { type RedisClient, startRedis, type TestRedis } from '../support/redis.ts';
import { bindTo, describeRedis, keyOf, newRef } from './engine-support.ts';

const MINUTE = 60_000;

type Serializer = NonNullable<ConstructorParameters<typeof RedisStore>[0]['serializer']>;

describeRedis('sessions that are saved through connect-redis', () => {
  let redis: TestRedis;
  let client: RedisClient;
  let other: RedisClient;

  beforeAll(async () => {
    redis = await startRedis();
    client = await redis.client();
    other = await redis.client();
  });
  afterAll(() => redis.close());

  function open(options: Partial<ConstructorParameters<typeof RedisStore>[0]> = {}, deadlineMs = 5000) {
    const store = new RedisStore({ client, ...options });
    const binding = bindTo(store, deadlineMs);
    const get = promisify(store.get.bind(store)) as (id: string) => Promise<SessionData | null>;
    const save = promisify(store.set.bind(store)) as (id: string, session: SessionData) => Promise<void>;
    /** As express-session does with what a request's cookie names. */
    const load = async (id: string) =>
      store.createSession(
        { sessionID: id } as Request,
        (await get(id)) as Parameters<Store['createSession']>[1],
      );
    return { store, binding, get, save, load };
  }

  /** A session of somebody who is signed in, or of nobody. */
  function record(fields: object, { maxAge = MINUTE, isSignedIn = true } = {}): SessionData {
    const ref = newRef();
    const handle = {
      ref,
      key: 'k',
      issuer: 'https://op.example',
      subject: 'alice',
      client: 'app',
      epoch: 1,
      claims: {},
    };
    const cookie = { originalMaxAge: maxAge, expires: new Date(Date.now() + maxAge) };
    return { ...fields, ...(isSignedIn ? { oidc: handle } : {}), cookie } as unknown as SessionData;
  }

  let count = 0;
  const newId = () => {
    count += 1;
    return `session-${count}`;
  };

  test('C36: one that another process destroyed is not made again by a request that loaded it before', async () => {
    const [mine, theirs] = [open(), open({ client: other })];
    const id = newId();
    const data = record({ cart: 1 });
    await mine.save(id, data);
    const session = await mine.load(id);
    await promisify(theirs.store.destroy.bind(theirs.store) as (id: string, done: () => void) => void)(id);
    Object.assign(session, { cart: 2 });
    await mine.save(id, session);
    expect(await client.exists(`sess:${id}`)).toBe(0);
    const { ref } = (data as unknown as { oidc: { ref: string } }).oidc;
    expect(await client.hGetAll(keyOf(ref))).toEqual({ t: '1' });
  });

  test('one that is there is saved with its fields and the time of its cookie', async () => {
    const { save, load, get } = open();
    const id = newId();
    await save(id, record({ cart: 1 }));
    const session = await load(id);
    Object.assign(session, { cart: 2 });
    session.cookie.maxAge = 10 * MINUTE;
    await save(id, session);
    expect(await get(id)).toMatchObject({ cart: 2, oidc: { subject: 'alice' } });
    expect(await client.pTTL(`sess:${id}`)).toBeGreaterThan(9 * MINUTE);
  });

  test('the store’s own prefix and serializer', async () => {
    const serializer: Serializer = {
      stringify: (session) => Buffer.from(JSON.stringify(session)).toString('base64'),
      parse: (text) => JSON.parse(Buffer.from(text, 'base64').toString()),
    };
    const { save, load, get } = open({ prefix: 'app:', serializer });
    const id = newId();
    await save(id, record({ cart: 1 }));
    const session = await load(id);
    Object.assign(session, { cart: 2 });
    await save(id, session);
    expect(await get(id)).toMatchObject({ cart: 2 });
    expect(await client.get(`app:${id}`)).toMatch(/^[\w+/=]+$/);
    expect(await client.exists(`sess:${id}`)).toBe(0);
  });

  test.each([
    ['its number, where the cookie ends with the browser', { ttl: 300 }, undefined, 300],
    ['its function, whatever the cookie says', { ttl: () => 400 }, MINUTE, 400],
    ['its function, without a cookie’s time', { ttl: () => 500 }, undefined, 500],
    ['a day by itself', {}, undefined, 86_400],
    ['for ever with disableTTL', { disableTTL: true }, MINUTE, -0.001],
  ])('the store’s own ttl: %s', async (_title, options, maxAge, seconds) => {
    const { save, load } = open(options);
    const id = newId();
    await save(id, record({}));
    const session = await load(id);
    session.cookie.expires = maxAge === undefined ? null : new Date(Date.now() + maxAge);
    await client.persist(`sess:${id}`);
    await save(id, session);
    expect(Math.abs((await client.pTTL(`sess:${id}`)) - seconds * 1000)).toBeLessThan(10_000);
    // And exactly as the store itself would have saved it.
    const expected = await client.pTTL(`sess:${id}`);
    const plain = new RedisStore({ client, ...options });
    await promisify(plain.set.bind(plain) as (id: string, session: SessionData) => Promise<void>)(
      id,
      session,
    );
    expect(Math.abs((await client.pTTL(`sess:${id}`)) - expected)).toBeLessThan(10_000);
  });

  test('one whose cookie has expired ends', async () => {
    const { save, load } = open();
    const id = newId();
    await save(id, record({}));
    const session = await load(id);
    session.cookie.expires = new Date(Date.now() - 1000);
    await save(id, session);
    expect(await client.exists(`sess:${id}`)).toBe(0);
  });

  test('a new one, and one in which nobody is signed in, are the store’s business alone', async () => {
    const { save, load, get } = open();
    const id = newId();
    await save(id, record({ cart: 1 }, { isSignedIn: false }));
    const session = await load(id);
    await client.del(`sess:${id}`);
    Object.assign(session, { cart: 2 });
    await save(id, session);
    expect(await get(id)).toMatchObject({ cart: 2 });
  });

  test('what cannot be saved is an error of the save: a serializer that throws, a server that does not answer', async () => {
    const broken: Serializer = { stringify: JSON.stringify, parse: JSON.parse };
    const { store, save, load } = open({ serializer: broken }, 200);
    const id = newId();
    await save(id, record({}));
    const session = await load(id);
    const { stringify } = broken;
    broken.stringify = () => {
      throw new TypeError('circular');
    };
    // Given to the callback: thrown it would end the response of a request that only wanted its session saved.
    const error = await new Promise((resolve) => store.set(id, session, resolve));
    expect(error).toMatchObject({ message: 'circular' });
    broken.stringify = stringify;
    redis.pause();
    await expect(save(id, session)).rejects.toMatchObject({ name: 'StoreUnavailableError' });
    redis.resume();
    await save(id, session);
  });
});
