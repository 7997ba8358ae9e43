import { interactionPolicy, type KoaContextWithOIDC } from 'oidc-provider';
import { SECOND_FACTOR } from '../settings.ts';

const { base, Check } = interactionPolicy;

/** `acr_values=second-factor` brings up the confirmation page, until the session has that class. */
export function policyWithStepUp(): interactionPolicy.DefaultPolicy {
  const policy = base();
  const secondFactor = new Check('second_factor', 'a second factor is needed', ({ oidc }) => {
    const asked = String(oidc.params?.acr_values ?? '').split(' ');
    return asked.includes(SECOND_FACTOR) && oidc.session?.acr !== SECOND_FACTOR;
  });
  policy.get('login')?.checks.add(secondFactor);
  return policy;
}

/** Somebody is signed in, and that was too weak or is too long ago: nobody has to say again who they are. */
export function isStepUp(prompt: { reasons: string[] }): boolean {
  return prompt.reasons.every((reason) => reason === 'second_factor' || reason === 'max_age');
}

/** How and when the user signed in, for APIs that want to know it (RFC 9470 §6.2). */
export function signInClaims({ oidc }: KoaContextWithOIDC): Record<string, unknown> {
  const { acr, authTime } = oidc.entities.AuthorizationCode ?? oidc.entities.RefreshToken ?? {};
  return { ...(acr ? { acr } : {}), ...(authTime ? { auth_time: authTime } : {}) };
}
