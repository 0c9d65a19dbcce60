import { aspnet } from './aspnet.ts';
import { auth0 } from './auth0.ts';
import { clerk } from './clerk.ts';
import { cognito } from './cognito.ts';
import { devise } from './devise.ts';
import { django } from './django.ts';
import { firebase } from './firebase.ts';
import { forgerock } from './forgerock.ts';
import { keycloak } from './keycloak.ts';
import { laravel } from './laravel.ts';
import { ldif } from './ldif.ts';
import { okta } from './okta.ts';
import { pingone } from './pingone.ts';
import type { Source } from './source.ts';
import { supabase } from './supabase.ts';
import { wordpress } from './wordpress.ts';

/** Every product whose files are understood. Another one is a line here, in the order of its name. */
export const sources: readonly Source[] = [
  aspnet,
  auth0,
  clerk,
  cognito,
  devise,
  django,
  firebase,
  forgerock,
  keycloak,
  laravel,
  ldif,
  okta,
  pingone,
  supabase,
  wordpress,
];

export const sourceNames: readonly string[] = sources.map(({ name }) => name);

export const sourceNamed = (name: string): Source | undefined => sources.find((source) => source.name === name);
