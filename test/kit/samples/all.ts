import { auth0Samples } from './auth0.ts';
import { firebaseJsonSamples } from './firebase.ts';
import { forgerockSamples } from './forgerock.ts';
import { keycloakSamples } from './keycloak.ts';
import type { SampleMaker } from './maker.ts';
import { nonsenseSamples, ownSamples } from './own.ts';
import { shapeSamples } from './shapes.ts';
import { tableSamples } from './tables.ts';

/** Every maker of files; a source is a line here. */
export const sampleMakers: readonly SampleMaker[] = [
  ...auth0Samples,
  ...firebaseJsonSamples,
  ...forgerockSamples,
  ...keycloakSamples,
  ...ownSamples,
  ...nonsenseSamples,
  ...shapeSamples,
  ...tableSamples,
];
