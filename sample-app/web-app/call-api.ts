import type { Request } from 'express';
import { OidcTokensError } from 'express-oidc-tokens';
import type { ApiAccess, ApiName } from '../settings.ts';

class ApiError extends Error {
  readonly status = 502;
}

/**
 * The whole of what an app does to call an API for its user. The token comes from the cache, or by a refresh; where only
 * the user can help, this rejects, and the browser goes to the provider and comes back to the same page.
 */
export async function callApi(request: Request, name: ApiName, { url }: ApiAccess): Promise<unknown> {
  const init = { headers: { accept: 'application/json' }, signal: AbortSignal.timeout(10_000) };
  const answer = await request.fetchWithToken(url, init, name).catch((error: unknown) => {
    if (error instanceof OidcTokensError) throw error;
    throw new ApiError(`The API at ${url} did not answer.`, { cause: error });
  });
  if (answer.ok) return answer.json();
  const said = answer.headers.get('www-authenticate') ?? '';
  throw new ApiError(`The API at ${url} answered ${answer.status}. ${said}`);
}
