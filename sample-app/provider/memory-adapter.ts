import type { Adapter, AdapterPayload } from 'oidc-provider';

/** Everything the local provider remembers: one map, gone when the process ends. */
export function memoryAdapter(): (model: string) => Adapter {
  const entries = new Map<string, { payload: AdapterPayload; expiresAt: number }>();

  function alive(key: string): AdapterPayload | undefined {
    const entry = entries.get(key);
    return entry && entry.expiresAt > Date.now() ? entry.payload : undefined;
  }

  function deleteWhere(
    isOver: (entry: { payload: AdapterPayload; expiresAt: number }, key: string) => boolean,
  ): void {
    for (const [key, entry] of entries) if (isOver(entry, key)) entries.delete(key);
  }

  return (model) => ({
    async upsert(id, payload, expiresIn) {
      deleteWhere(({ expiresAt }) => expiresAt <= Date.now());
      entries.set(`${model}:${id}`, {
        payload,
        expiresAt: expiresIn ? Date.now() + expiresIn * 1000 : Infinity,
      });
    },
    async find(id) {
      return alive(`${model}:${id}`);
    },
    async findByUid(uid) {
      return [...entries.keys()].map(alive).find((payload) => payload?.kind === model && payload.uid === uid);
    },
    async findByUserCode() {
      return undefined; // no device flow here
    },
    async consume(id) {
      const payload = alive(`${model}:${id}`);
      if (payload) payload.consumed = Math.floor(Date.now() / 1000);
    },
    async destroy(id) {
      entries.delete(`${model}:${id}`);
    },
    async revokeByGrantId(grantId) {
      deleteWhere(({ payload }, key) => key.startsWith(`${model}:`) && payload.grantId === grantId);
    },
  });
}
