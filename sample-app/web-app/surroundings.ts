import type { ApiAccess, ApiName } from '../settings.ts';
import type { GrantsOf } from './grants.ts';

/** What the pages are made with. */
export interface Surroundings {
  access: Partial<Record<ApiName, ApiAccess>>;
  stepUpAcr: string | undefined;
  grantsOf: GrantsOf;
}
