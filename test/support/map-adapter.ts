import { type Adapter, type AdapterPayload, errors } from 'oidc-provider';

interface Entry {
  payload: AdapterPayload;
  expiresAt: number;
}

/**
 * The provider's whole state: one unbounded map on `Date.now()`, so that it follows `travel()` and outlives a restart
 * of the listener and a change of keys. oidc-provider's own memory adapter forgets after 1,000 entries.
 */
export class ProviderStorage {
  readonly #entries = new Map<string, Entry>();
  readonly #grants = new Map<string, Set<string>>();

  get size(): number {
    return this.#entries.size;
  }

  get(key: string): AdapterPayload | undefined {
    const entry = this.#entries.get(key);
    if (entry && entry.expiresAt <= Date.now()) {
      this.#entries.delete(key);
      return undefined;
    }
    return entry?.payload;
  }

  set(key: string, payload: AdapterPayload, expiresIn?: number): void {
    const expiresAt = expiresIn === undefined ? Number.POSITIVE_INFINITY : Date.now() + expiresIn * 1000;
    this.#entries.set(key, { payload, expiresAt });
    if (payload.grantId) {
      const members = this.#grants.get(payload.grantId) ?? new Set();
      this.#grants.set(payload.grantId, members.add(key));
    }
  }

  delete(key: string): void {
    this.#entries.delete(key);
  }

  /** Ends a grant: every code and token issued under it and the grant itself. */
  revokeGrant(grantId: string): void {
    for (const key of this.#grants.get(grantId) ?? []) this.delete(key);
    this.#grants.delete(grantId);
    this.delete(`Grant:${grantId}`);
  }

  /** Makes a rotated refresh token usable once more: what a provider's grace window does. */
  forgiveReuse(refreshToken: string): void {
    const payload = this.get(`RefreshToken:${refreshToken}`);
    if (payload) delete payload.consumed;
  }

  find(test: (key: string, payload: AdapterPayload) => boolean): AdapterPayload | undefined {
    for (const key of this.#entries.keys()) {
      const payload = this.get(key);
      if (payload && test(key, payload)) return payload;
    }
    return undefined;
  }
}

/** oidc-provider's adapter over {@link ProviderStorage}. */
export class MapAdapter implements Adapter {
  readonly #model: string;
  readonly #storage: ProviderStorage;

  constructor(model: string, storage: ProviderStorage) {
    this.#model = model;
    this.#storage = storage;
  }

  async upsert(id: string, payload: AdapterPayload, expiresIn?: number): Promise<void> {
    this.#storage.set(this.#key(id), payload, expiresIn);
  }

  async find(id: string): Promise<AdapterPayload | undefined> {
    return this.#storage.get(this.#key(id));
  }

  async findByUid(uid: string): Promise<AdapterPayload | undefined> {
    return this.#findBy('uid', uid);
  }

  async findByUserCode(userCode: string): Promise<AdapterPayload | undefined> {
    return this.#findBy('userCode', userCode);
  }

  /**
   * Strict where oidc-provider's memory adapter is not: of two parallel uses of one refresh token (or code) both pass
   * the check for reuse there. Here the second one revokes the grant, as a database transaction would.
   */
  async consume(id: string): Promise<void> {
    const payload = this.#storage.get(this.#key(id));
    if (!payload) throw new errors.InvalidGrant('already gone');
    if (payload.consumed) {
      if (payload.grantId) this.#storage.revokeGrant(payload.grantId);
      throw new errors.InvalidGrant('already used');
    }
    payload.consumed = Math.floor(Date.now() / 1000);
  }

  async destroy(id: string): Promise<void> {
    this.#storage.delete(this.#key(id));
  }

  async revokeByGrantId(grantId: string): Promise<void> {
    this.#storage.revokeGrant(grantId);
  }

  #key(id: string): string {
    return `${this.#model}:${id}`;
  }

  #findBy(member: 'uid' | 'userCode', value: string): AdapterPayload | undefined {
    const prefix = `${this.#model}:`;
    return this.#storage.find((key, payload) => key.startsWith(prefix) && payload[member] === value);
  }
}
