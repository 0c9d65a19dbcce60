import { chance, invent, pick, type SampleMaker, times } from './maker.ts';

export const forgerockSamples: readonly SampleMaker[] = [
  {
    source: 'forgerock',
    shape: 'query of managed users',
    make: (random) => {
      const result = times(1 + Math.floor(random() * 10), () => {
        const { uuid, userName, email, given, family } = invent(random);
        const password = `{PBKDF2-HMAC-SHA256}10:${Buffer.from(uuid + uuid).toString('base64')}`;
        return { _id: uuid, _rev: '1', userName, mail: email, givenName: given, sn: family, password };
      });
      const rest = { resultCount: result.length, pagedResultsCookie: null, remainingPagedResults: -1 };
      return JSON.stringify({ result, ...(chance(random, 0.8) && rest) }, null, pick(random, [0, 2]));
    },
  },
];
