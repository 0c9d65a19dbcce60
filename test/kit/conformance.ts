import { randomBytes, randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Backend, Change, UserState } from '../../src/adapters/port.ts';
import { PassferryError } from '../../src/errors.ts';
import { Secret } from '../../src/secret.ts';

/** A user that a test needs in the backend. */
export interface TestUser {
  id: string;
  org: string;
  /** Default `active`. */
  state?: Exclude<UserState, 'unknown'>;
  password?: string;
  isMachine?: boolean;
}

/** A backend under test, and the hands that reach behind it. */
export interface Fixture {
  backend: Backend;
  addUser(user: TestUser): Promise<void>;
  /** The clock of acceptance, ms since the epoch. Default `Date.now`. */
  now?(): number;
  /** Sets a password as somebody else would, not through the backend. */
  foreignChange(org: string, user: string, password: string): Promise<void>;
  /** How many password changes of this user Passferry has made. */
  effects(user: string): Promise<number>;
  close(): Promise<void>;
}

/** Where a backend differs by its nature. */
export interface Flags {
  /** It decides order, staleness and repetition itself. Default true. */
  exact?: boolean;
  /** It knows users in the state `initial`. Default true. */
  initial?: boolean;
  /** It refuses machine users. Default true. */
  refusesMachines?: boolean;
  /** Reasons for an unknown user and for a user of another organization. Default `COMMAND-G8dh3` for both. */
  unknownUser?: string;
  otherOrganization?: string;
}

/** Makes the change that a test sends; the password always passes ZITADEL's default policy. */
export function changeOf(user: TestUser, seq: bigint, more: Partial<Change> = {}): Change {
  return {
    jobId: randomUUID(),
    org: user.org,
    user: user.id,
    seq,
    acceptedAt: Date.now(),
    password: Secret.fromString(newPassword()),
    changeRequired: false,
    overwriteNewer: false,
    ...more,
  };
}

export const newPassword = () => `Aa1!${randomBytes(9).toString('base64url')}`;

/** The error that was thrown; fails when none was, or a foreign one. */
export async function errorOf(promise: Promise<unknown>): Promise<PassferryError> {
  const settled = await Promise.allSettled([promise]);
  const thrown: unknown = settled[0].status === 'rejected' ? settled[0].reason : undefined;
  expect(thrown).toBeInstanceOf(PassferryError);
  return thrown as PassferryError;
}

/** What every backend must do. */
export function testBackend(name: string, make: () => Promise<Fixture>, flags: Flags = {}): void {
  const { exact = true, initial = true, refusesMachines = true } = flags;
  const { unknownUser = 'COMMAND-G8dh3', otherOrganization = unknownUser } = flags;
  const signal = new AbortController().signal;

  describe(`conformance: ${name}`, () => {
    let fixture: Fixture;
    let backend: Backend;
    let seq = 1_000n;
    const now = () => fixture.now?.() ?? Date.now();

    beforeAll(async () => {
      fixture = await make();
      backend = fixture.backend;
    }, 60_000);
    afterAll(() => fixture?.close());

    async function addUser(more: Partial<TestUser> = {}): Promise<TestUser> {
      const user: TestUser = { id: randomUUID(), org: 'org-1', ...more };
      await fixture.addUser(user);
      return user;
    }
    const change = (user: TestUser, more: Partial<Change> = {}) =>
      changeOf(user, ++seq, { acceptedAt: now(), ...more });
    const set = (made: Change) => backend.setPassword(made, signal);

    async function expectProof(user: TestUser, password: Secret | string, works: boolean): Promise<void> {
      if (!backend.prove) return;
      const secret = typeof password === 'string' ? Secret.fromString(password) : password;
      expect(await backend.prove(user.org, user.id, secret, signal)).toBe(works);
    }

    async function expectRefused(user: TestUser, made: Change, reason: string): Promise<PassferryError> {
      const before = await fixture.effects(user.id);
      const error = await errorOf(set(made));
      expect(error).toMatchObject({ reason, scope: 'user', effect: 'none' });
      expect(error.message).not.toContain(made.password.reveal());
      expect(await fixture.effects(user.id)).toBe(before);
      return error;
    }

    it('sets a password: the new one works and the old one no longer', async () => {
      const old = newPassword();
      const user = await addUser({ password: old });
      const made = change(user);
      const applied = await set(made);
      expect(applied.result).toBe('set');
      expect(applied.details).toMatchObject({ sequence: expect.stringMatching(/^\d+$/), resourceOwner: user.org });
      expect(applied.details?.changeDate).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/);
      expect(await fixture.effects(user.id)).toBe(1);
      await expectProof(user, made.password, true);
      await expectProof(user, old, false);
    });

    it('numbers changes upwards, and asks for one at the next login only when told to', async () => {
      const user = await addUser();
      let last = -1n;
      for (const changeRequired of [true, false]) {
        const { result, details } = await set(change(user, { changeRequired }));
        expect(result).toBe('set');
        expect(BigInt(details?.sequence ?? 0) > last).toBe(true);
        last = BigInt(details?.sequence ?? 0);
        const read = await backend.readUser?.(user.org, user.id, signal);
        if (read?.changeRequired !== undefined) expect(read.changeRequired).toBe(changeRequired);
      }
    });

    it('accepts a locked user and leaves the lock', async () => {
      const user = await addUser({ state: 'locked' });
      expect((await set(change(user))).result).toBe('set');
      if (backend.readUser) expect((await backend.readUser(user.org, user.id, signal)).state).toBe('locked');
    });

    it('takes 72 bytes whole', async () => {
      const user = await addUser();
      const long = `Aa1!${'é'.repeat(34)}`;
      expect(Buffer.byteLength(long)).toBe(72);
      expect((await set(change(user, { password: Secret.fromString(long) }))).result).toBe('set');
      await expectProof(user, long, true);
      await expectProof(user, `${long.slice(0, -1)}x`, false);
    });

    it('refuses an unknown user', async () => {
      const user = { id: randomUUID(), org: 'org-1' };
      await expectRefused(user, change(user), unknownUser);
    });

    it('refuses a user of another organization', async () => {
      const user = await addUser();
      const foreign = await expectRefused(user, change(user, { org: 'org-2' }), otherOrganization);
      if (otherOrganization !== unknownUser) return;
      const ghost = { id: randomUUID(), org: 'org-2' };
      expect(foreign.toJSON()).toEqual((await errorOf(set(change(ghost)))).toJSON());
    });

    const refused: [string, Partial<TestUser>, string][] = [];
    if (initial) refused.push(['a user who is not yet initialized', { state: 'initial' }, 'COMMAND-M9dse']);
    if (refusesMachines) refused.push(['a machine user', { isMachine: true }, unknownUser]);
    for (const [who, more, reason] of refused) {
      it(`refuses ${who}`, async () => {
        const user = await addUser(more);
        await expectRefused(user, change(user), reason);
      });
    }

    it.each([
      ['too short', 'Aa1!aaa', 'DOMAIN-HuJf6'],
      ['without lower case', 'AAAA111!', 'DOMAIN-co3Xw'],
      ['without upper case', 'aaaa111!', 'DOMAIN-VoaRj'],
      ['without a number', 'AAAAaaa!', 'DOMAIN-ZBv4H'],
      ['without a symbol', 'AAAAaaa1', 'DOMAIN-ZDLwA'],
    ])('refuses a password %s', async (_, password, reason) => {
      const old = newPassword();
      const user = await addUser({ password: old });
      const error = await expectRefused(user, change(user, { password: Secret.fromString(password) }), reason);
      expect(error.code).toBe('invalid_argument');
      await expectProof(user, old, true);
    });

    it('foretells what a change would come to, and changes nothing', async () => {
      if (!backend.rehearse) return;
      const old = newPassword();
      const user = await addUser({ password: old });
      const ghost = { id: randomUUID(), org: user.org };
      const locked = await addUser({ state: 'locked' });
      const said = async (made: Change) => {
        const { end, state } = (await backend.rehearse?.(made, signal)) ?? {};
        return [typeof end === 'string' ? end : end?.reason, state];
      };
      expect(await said(change(user))).toEqual(['set', 'active']);
      expect(await said(change(locked))).toEqual(['set', 'locked']);
      expect(await said(change(user, { password: Secret.fromString('AAAA111!') }))).toEqual(['DOMAIN-co3Xw', 'active']);
      expect((await said(change(ghost)))[0]).toBe('COMMAND-G8dh3');
      expect((await said(change(user, { org: 'org-2' })))[0]).toBe('COMMAND-G8dh3');
      if (initial) {
        expect(await said(change(await addUser({ state: 'initial' })))).toEqual(['COMMAND-M9dse', 'initial']);
      }
      expect(await fixture.effects(user.id)).toBe(0);
      await expectProof(user, old, true);
    });

    it('answers a ping, and does nothing once the signal has aborted', async () => {
      expect(backend.exact).toBe(exact);
      await backend.ping(signal);
      const user = await addUser();
      const error = await errorOf(backend.setPassword(change(user), AbortSignal.abort()));
      expect(error).toMatchObject({ scope: 'backend', effect: 'none' });
      expect(await fixture.effects(user.id)).toBe(0);
    });

    if (exact) {
      it('applies a job once, however often it is sent', async () => {
        const user = await addUser();
        const made = change(user);
        const first = await set(made);
        expect(await set(made)).toEqual(first);
        expect(await fixture.effects(user.id)).toBe(1);
        await set(change(user));
        expect((await set(made)).result).toBe('superseded');
        expect(await fixture.effects(user.id)).toBe(2);
      });

      it('does not claim a replayed password that somebody has changed since', async () => {
        const user = await addUser();
        const made = change(user);
        await set(made);
        const theirs = newPassword();
        await fixture.foreignChange(user.org, user.id, theirs);
        expect((await set(made)).result).toBe('stale');
        await expectProof(user, theirs, true);
      });

      it('ends an older sequence superseded', async () => {
        const user = await addUser();
        const older = change(user);
        const newer = change(user);
        expect((await set(newer)).result).toBe('set');
        expect(await set(older)).toEqual({ result: 'superseded' });
        expect(await fixture.effects(user.id)).toBe(1);
        await expectProof(user, newer.password, true);
      });

      it("ends stale on somebody's later choice, unless told to overwrite", async () => {
        const user = await addUser();
        await set(change(user, { acceptedAt: now() - 60_000 }));
        const theirs = newPassword();
        await fixture.foreignChange(user.org, user.id, theirs);
        expect(await set(change(user, { acceptedAt: now() - 60_000 }))).toEqual({ result: 'stale' });
        await expectProof(user, theirs, true);
        const made = change(user, { acceptedAt: now() - 60_000, overwriteNewer: true });
        expect((await set(made)).result).toBe('set');
        await expectProof(user, made.password, true);
      });

      it('is not stale after a change of our own or within the tolerance', async () => {
        const user = await addUser();
        await set(change(user));
        expect((await set(change(user, { acceptedAt: now() - 60_000 }))).result).toBe('set');
        await fixture.foreignChange(user.org, user.id, newPassword());
        expect((await set(change(user))).result).toBe('set');
      });
    }
  });
}
