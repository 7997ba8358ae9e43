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
  throw new ApiError(`The API at ${url} answered ${answer.status}. ${await reasonOf(answer)}`);
}

/** The sample's APIs say it in JSON; others at least in the header that goes with a 401. */
async function reasonOf(answer: Response): Promise<string> {
  const { message } = (await answer.json().catch(() => ({}))) as { message?: unknown };
  return typeof message === 'string' ? message : (answer.headers.get('www-authenticate') ?? '');
}
