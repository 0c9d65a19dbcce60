import { chance, hexOf, invent, pick, type Random, type SampleMaker, times } from './maker.ts';

function user(random: Random, urlSafe: boolean) {
  const { email, given } = invent(random);
  const bytes = (length: number) =>
    Buffer.from(hexOf(random, length * 2), 'hex').toString(urlSafe ? 'base64url' : 'base64');
  return {
    ...{ localId: hexOf(random, 28), email, emailVerified: chance(random, 0.5) },
    ...(chance(random, 0.85) ? { passwordHash: bytes(64), salt: bytes(12) } : {}),
    ...{ displayName: given, lastSignedInAt: '1700000000000', createdAt: '1600000000000', providerUserInfo: [] },
  };
}

export const firebaseJsonSamples: readonly SampleMaker[] = [
  {
    source: 'firebase',
    shape: 'auth:export',
    make: (random) => {
      const urlSafe = chance(random, 0.5);
      const users = times(1 + Math.floor(random() * 20), () => user(random, urlSafe));
      return JSON.stringify({ users }, null, pick(random, [0, 2]));
    },
  },
];
