import { fail, knownFields, parseRoute } from './option-values.ts';
import type { RouteOptions } from './options.ts';

/** Paths relative to the mount; `false`: the app has no such route. */
export interface Routes {
  readonly login: string | false;
  readonly callback: string;
  readonly logout: string | false;
  readonly backchannelLogout: string | false;
  readonly frontchannelLogout: string | false;
}

const DEFAULTS: Routes = {
  login: '/login',
  callback: '/callback',
  logout: '/logout',
  backchannelLogout: false,
  frontchannelLogout: false,
};

export function parseRoutes(routes: RouteOptions = {}): Routes {
  const names = Object.keys(DEFAULTS) as (keyof Routes)[];
  knownFields(routes, names, 'routes');
  const parsed = Object.fromEntries(
    names.map((name) => [name, parseRoute(routes[name], `routes.${name}`) ?? DEFAULTS[name]]),
  ) as Record<keyof Routes, string | false>;
  const { callback } = parsed;
  if (callback === false)
    throw new TypeError('routes.callback must be a path: the provider sends users there');
  const paths = Object.values(parsed).filter((path) => path !== false);
  if (new Set(paths).size < paths.length)
    fail(`Two routes have the same path: each of ${names.join(', ')} needs its own.`);
  return { ...parsed, callback };
}
