import { ConfigurationError } from '../core/errors.ts';
import { parseScopes, type ScopeSet } from '../core/scopes.ts';
import { parseResource, type Target } from '../core/token-request.ts';
import type { AuthorizationParams } from '../protocol/authorization-request.ts';
import { knownFields, nonEmpty, parseUrl, plainObject } from './option-values.ts';
import type { AuthOptions } from './options.ts';

/** Parameters of an authorization request that this package sets; everything rests on them. */
const RESERVED_PARAMS = [
  'client_id',
  'redirect_uri',
  'response_type',
  'state',
  'nonce',
  'code_challenge',
  'code_challenge_method',
  'scope',
  'request',
  'request_uri',
  'response_mode',
];

export function parseResources(
  input: AuthOptions['resources'] = {},
): Record<string, Target & { scopes: ScopeSet }> {
  plainObject(input, 'resources');
  const entries = Object.entries(input).map(([name, resource]) => {
    knownFields(resource, ['url', 'resource', 'audience', 'scopes'], `resources.${name}`);
    const target: Target = {
      resource:
        resource.resource === undefined
          ? undefined
          : parseResource(resource.resource, `resources.${name}.resource`),
      audience: nonEmpty(resource.audience, `resources.${name}.audience`),
    };
    return [name, { ...target, scopes: parseScopes(resource.scopes, `resources.${name}.scopes`) }] as const;
  });
  return Object.fromEntries(entries);
}

/** Where the resources are, of those that say so. */
export function parseResourceUrls(input: AuthOptions['resources'] = {}): Record<string, URL> {
  const entries = Object.entries(input).flatMap(([name, { url }]) =>
    url === undefined ? [] : [[name, parseUrl(url, `resources.${name}.url`)] as const],
  );
  return Object.fromEntries(entries);
}

export function parseAuthorizationParams(params: AuthorizationParams = {}): AuthorizationParams {
  plainObject(params, 'authorizationParams');
  for (const [name, value] of Object.entries(params)) {
    const isText =
      typeof value === 'string' ||
      (Array.isArray(value) && value.every((single) => typeof single === 'string'));
    if (!isText) throw new TypeError(`authorizationParams.${name} must be a string or an array of strings`);
    if (RESERVED_PARAMS.includes(name)) {
      throw new ConfigurationError(
        `authorizationParams.${name} cannot be set: ${name === 'scope' ? 'use the option scopes.' : 'the middleware sets it.'}`,
      );
    }
  }
  for (const resource of [params.resource ?? []].flat())
    parseResource(resource, 'authorizationParams.resource');
  return params;
}

/** What the login's own token is for: the one resource or audience that every login asks for. */
export function ownTarget(resources: readonly string[], params: AuthorizationParams): Target {
  return {
    resource: resources.length === 1 ? resources[0] : undefined,
    audience: typeof params.audience === 'string' ? params.audience : undefined,
  };
}
