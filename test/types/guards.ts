/** Compiled, never run: what handlers see of the request, by Express's types. */
import express, { type Request, type RequestHandler, Router } from 'express';
import {
  type AuthenticatedRequest,
  auth,
  claimCheck,
  claimEquals,
  claimIncludes,
  type IdTokenClaims,
  requiresAuth,
  requiresBearer,
  requiresToken,
  type TokenRequestInHand,
  type TokenResult,
} from 'express-oidc-tokens';

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
type Present<T> = undefined extends T ? false : true;

/** Its argument's type says whether the claim about types holds. */
function holds<_T extends true>(): void {}

const app = express();
app.use(auth());

// Behind no guard both may be missing, and the compiler says so.
app.get('/', (req, res) => {
  holds<Equal<typeof req.token, TokenResult | undefined>>();
  holds<Equal<typeof req.oidc.user, IdTokenClaims | undefined>>();
  // @ts-expect-error: perhaps nobody is signed in
  res.send(req.oidc.user.sub);
});

// Where it has been asked they are there, as in the quickstart.
app.get('/greeting', (req, res) => {
  res.send(req.oidc.isAuthenticated() ? `Hi ${req.oidc.user.name}` : '<a href="/login">Log in</a>');
  if (req.oidc.isAuthenticated()) return void res.send(req.oidc.account.subject);
  // @ts-expect-error: nobody is signed in
  res.send(req.oidc.user.sub);
});

// In a wrapped handler the user is there.
app.get(
  '/account/:id',
  requiresAuth((req, res) => {
    holds<Present<typeof req.oidc.user>>();
    const subject: string = req.oidc.user.sub;
    res.json({ subject, id: req.params.id, signedIn: req.oidc.isAuthenticated() });
    // @ts-expect-error: this guard gives no token
    res.send(req.token.accessToken);
  }),
);

// … and the token too.
app.get(
  '/orders',
  requiresToken('orders.read', async (req, res, next) => {
    holds<Equal<typeof req.token, TokenResult>>();
    holds<Present<typeof req.oidc.user>>();
    const header = `Bearer ${req.token.accessToken}`;
    const { accessToken } = await req.getToken({ scopes: ['orders.write'], resource: 'https://api.example' });
    if (req.token.expiresAt < 0) next();
    res.json({ header, accessToken, name: req.oidc.user.name });
  }),
);
app.get(
  '/own',
  requiresToken((req, res) => void res.send(req.token.scopes.join(' '))),
);
app.get(
  '/own-as-well',
  requiresToken(undefined, (req, res) => void res.send(req.token.scopes.join(' '))),
);
app.get(
  '/sets',
  requiresToken(['a', 'b'], (req, res) => void res.send(req.token.source)),
);

app.get(
  '/equals',
  claimEquals('tenant', 'blue', (req, res) => void res.send(req.oidc.user.sub)),
);
app.get(
  '/includes',
  claimIncludes('groups', 'dev', 7, (req, res) => void res.send(req.oidc.user.sub)),
);
app.get(
  '/check',
  claimCheck(
    (req, claims) => req.query.tenant === claims.tenant,
    async (req, res) => void res.send(req.oidc.user.sub),
  ),
);

// As middlewares they fit wherever a middleware fits, and `req.token` stays optional behind them.
const router = Router();
router.use(
  requiresAuth(),
  claimEquals('admin', true),
  claimCheck(async () => true),
);
router.get('/:id', requiresToken('a'), claimIncludes('groups', 'dev'), (req, res) => {
  holds<Equal<typeof req.token, TokenResult | undefined>>();
  res.send(req.token?.accessToken ?? req.params.id);
});
app.use('/area', router);
export const handlers: RequestHandler[] = [requiresAuth(), requiresToken('a'), claimEquals('a', null)];

// A guard leaves to Express's types what they know of the path.
app.get(
  '/orders/:id',
  requiresAuth(),
  requiresToken('a'),
  claimCheck(() => true),
  requiresBearer({ audience: 'a' }),
  (req, res) => {
    holds<Equal<typeof req.params.id, string>>();
    res.send(req.params.id);
  },
);

// A handler may be written on its own, and one that expects less fits too.
const own = (req: TokenRequestInHand): string => req.token.accessToken;
const less = (req: Request): string => req.url;
const user = (req: AuthenticatedRequest): string => req.oidc.user.sub;
export const wrapped = [
  requiresToken('a', own),
  requiresToken('a', less),
  requiresToken('a', user),
  requiresAuth(user),
  // @ts-expect-error: requiresAuth() gives no token
  requiresAuth(own),
];

// @ts-expect-error: a claim guard compares single values
claimEquals('groups', ['dev']);
// @ts-expect-error: the handler comes last
claimIncludes('groups', less, 'dev');
// @ts-expect-error: no such field
requiresToken({ scope: 'a' });
