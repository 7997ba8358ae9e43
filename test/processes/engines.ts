import { describe } from '@jest/globals';
import { type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts';
import { watchPostgres } from '../support/fleet-watch.ts';
import { postgresAvailable, startPostgres, type TestPostgres } from '../support/postgres.ts';
import {
  closing,
  fileScene,
  openScene,
  PATIENT,
  redisDescribe,
  redisScene,
  type Scene,
  type SceneOptions,
} from './setup.ts';

/** For cases that need a real PostgreSQL; a CI without one fails. */
export const postgresDescribe = postgresAvailable() ? describe : describe.skip;

export type PostgresScene = Scene & {
  postgres: TestPostgres;
  /** Between the app and PostgreSQL. */
  proxy: FaultProxy;
};

interface PostgresSceneOptions extends SceneOptions {
  /** Lets the app reach PostgreSQL through `proxy` only. */
  isProxied?: boolean;
  /** The package's own deadlines; else long ones, for a busy machine. */
  hasUsualDeadlines?: boolean;
}

export async function postgresScene(options: PostgresSceneOptions = {}): Promise<PostgresScene> {
  const { auth, isProxied, hasUsualDeadlines } = options;
  const postgres = closing(await startPostgres());
  const proxy = closing(await startFaultProxy(postgres.port));
  const schemaName = await postgres.schema();
  const store = {
    kind: 'postgres' as const,
    url: postgres.url(isProxied ? proxy.port : postgres.port),
    schemaName,
  };
  const scene = await openScene(store, () => watchPostgres(postgres, schemaName), {
    ...options,
    auth: hasUsualDeadlines ? auth : { ...PATIENT, ...auth },
  });
  return Object.assign(scene, { postgres, proxy });
}

/** What a store is called, what its cases are described with, and a scene over it. */
export type Engine = [string, typeof postgresDescribe, (options?: SceneOptions) => Promise<Scene>];

export const redisEngine: Engine = ['Redis', redisDescribe, redisScene];
export const postgresEngine: Engine = ['PostgreSQL', postgresDescribe, postgresScene];

/** Stores that know get, set and destroy alone: a timed lock keeps the processes apart. */
export const anyStores: Engine[] = [['files, 0 to 30 ms late', describe, fileScene], postgresEngine];
