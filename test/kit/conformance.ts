import { randomBytes, randomUUID } from 'node:crypto';
import { hash as bcrypt } from '@node-rs/bcrypt';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Backend, Change, HashChange, LeftOut, ListedUser, UserState } from '../../src/adapters/port.ts';
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
  /** An id that nobody has yet. Default: a UUID. */
  newId?(): string;
  /** How a bcrypt hash (`$2b$`) is written here. Default: as it is. */
  stored?(hash: string): string;
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
  /** States that a user can be in there. Default: all. */
  states?: readonly UserState[];
  /** It knows when somebody else changed a password. Default true. */
  dated?: boolean;
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
  const { exact = true, initial = true, refusesMachines = true, dated = true } = flags;
  const { states = ['active', 'inactive', 'locked', 'initial', 'deleted'] } = flags;
  const { unknownUser = 'COMMAND-G8dh3', otherOrganization = unknownUser } = flags;
  const signal = new AbortController().signal;

  describe(`conformance: ${name}`, () => {
    let fixture: Fixture;
    let backend: Backend;
    let seq = 1_000n;
    const now = () => fixture.now?.() ?? Date.now();
    const newId = () => fixture.newId?.() ?? randomUUID();

    beforeAll(async () => {
      fixture = await make();
      backend = fixture.backend;
    });
    afterAll(() => fixture?.close());

    async function addUser(more: Partial<TestUser> = {}): Promise<TestUser> {
      const user: TestUser = { id: newId(), org: 'org-1', ...more };
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
      if (!states.includes('locked')) return;
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
      const user = { id: newId(), org: 'org-1' };
      await expectRefused(user, change(user), unknownUser);
    });

    it('refuses a user of another organization', async () => {
      const user = await addUser();
      const foreign = await expectRefused(user, change(user, { org: 'org-2' }), otherOrganization);
      if (otherOrganization !== unknownUser) return;
      const ghost = { id: newId(), org: 'org-2' };
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
      const ghost = { id: newId(), org: user.org };
      const barred = await addUser({
        state: (['locked', 'inactive'] as const).find((each) => states.includes(each)) ?? 'active',
      });
      const said = async (made: Change) => {
        const { end, state } = (await backend.rehearse?.(made, signal)) ?? {};
        return [typeof end === 'string' ? end : end?.reason, state];
      };
      expect(await said(change(user))).toEqual(['set', 'active']);
      expect(await said(change(barred))).toEqual(['set', barred.state ?? 'active']);
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
        if (!dated) return;
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

    if (!exact) return;

    const hashOf = async (password = newPassword()) => ({ password, hash: await bcrypt(password, 4) });
    const setHash = (user: TestUser, hash: string, more: Partial<HashChange> = {}) => {
      const { password: _, ...made } = change(user);
      return backend.setHash?.({ ...made, hash: Secret.fromString(hash), ...more }, signal);
    };
    const readHash = async ({ org, id }: TestUser) => {
      const read = await backend.readHash?.(org, id, signal);
      return read && { ...read, hash: read.hash?.reveal() };
    };
    const stored = (hash: string) => fixture.stored?.(hash) ?? hash;

    it('stores a hash: its password works, and it is read as it is stored, with our sequence', async () => {
      if (!backend.setHash) return;
      expect(backend.verifiers).toContain('bcrypt');
      const old = newPassword();
      const user = await addUser({ password: old });
      const { password, hash } = await hashOf();
      const applied = await setHash(user, hash, { changeRequired: true });
      expect(applied?.result).toBe('set');
      expect(applied?.details?.resourceOwner).toBe(user.org);
      await expectProof(user, password, true);
      await expectProof(user, old, false);
      expect(await fixture.effects(user.id)).toBe(1);
      const read = await readHash(user);
      expect(read).toMatchObject({ hash: stored(hash), appliedSeq: seq, user: { user: user.id, org: user.org } });
      expect(read?.user.changeRequired).toBe(true);
    });

    it.each([['$2y$'], ['$2a$']])('takes a bcrypt hash that begins %s', async (letters) => {
      if (!backend.setHash) return;
      const user = await addUser();
      const { password, hash } = await hashOf();
      expect((await setHash(user, letters + hash.slice(4)))?.result).toBe('set');
      await expectProof(user, password, true);
    });

    it('refuses a hash that its readers cannot check, and what is no hash', async () => {
      const { setHash: ability } = backend;
      if (!ability) return;
      const user = await addUser();
      const md5 = '5f4dcc3b5aa765d61d8327deb882cf99';
      const pbkdf2 = 'pbkdf2_sha256$1000000$c2FsdHNhbHQ$N0XhQe3rBvDrjC9vPfWyqnMzSpEJ0yvDCoS6mM5nC4k=';
      for (const hash of ['', 'hunter22', md5, pbkdf2, '$2b$04$short', '$2x$04$abcdefghijklmnopqrstuv']) {
        const error = await errorOf(setHash(user, hash) as Promise<unknown>);
        expect(error, hash).toMatchObject({ reason: 'hash_refused', scope: 'user', effect: 'none' });
      }
      expect(await fixture.effects(user.id)).toBe(0);
    });

    it('refuses to store a hash for whom no password is set either', async () => {
      if (!backend.setHash) return;
      const { hash } = await hashOf();
      const nobody: [TestUser, string][] = [
        [{ id: newId(), org: 'org-1' }, unknownUser],
        [{ ...(await addUser()), org: 'org-2' }, otherOrganization],
      ];
      if (initial) nobody.push([await addUser({ state: 'initial' }), 'COMMAND-M9dse']);
      for (const [user, reason] of nobody) {
        expect(await errorOf(setHash(user, hash) as Promise<unknown>)).toMatchObject({ reason, scope: 'user' });
        expect(await fixture.effects(user.id)).toBe(0);
      }
    });

    it('keeps hashes and passwords in one order', async () => {
      if (!backend.setHash) return;
      const user = await addUser();
      const older = change(user);
      const { password, hash } = await hashOf();
      expect((await setHash(user, hash))?.result).toBe('set');
      expect(await set(older)).toEqual({ result: 'superseded' });
      const olderHash = await hashOf();
      const before = seq - 1n;
      expect(await setHash(user, olderHash.hash, { seq: before })).toEqual({ result: 'superseded' });
      await expectProof(user, password, true);
      const newer = change(user);
      expect((await set(newer)).result).toBe('set');
      await expectProof(user, newer.password, true);
    });

    it('stores a hash once, however often it is sent', async () => {
      if (!backend.setHash) return;
      const user = await addUser();
      const { hash } = await hashOf();
      const made = { jobId: randomUUID(), seq: ++seq };
      const first = await setHash(user, hash, made);
      expect(await setHash(user, hash, made)).toEqual(first);
      expect(await fixture.effects(user.id)).toBe(1);
    });

    it("does not store a hash over somebody's later choice, unless told to", async () => {
      if (!backend.setHash || !dated) return;
      const user = await addUser();
      const theirs = newPassword();
      await fixture.foreignChange(user.org, user.id, theirs);
      const { password, hash } = await hashOf();
      const acceptedAt = now() - 60_000;
      expect(await setHash(user, hash, { acceptedAt })).toEqual({ result: 'stale' });
      await expectProof(user, theirs, true);
      expect((await setHash(user, hash, { acceptedAt, overwriteNewer: true }))?.result).toBe('set');
      await expectProof(user, password, true);
    });

    it('leaves a hash that is there already, and remembers its place in the order', async () => {
      if (!backend.setHash) return;
      const user = await addUser();
      const { password, hash } = await hashOf();
      await setHash(user, hash);
      const { user: before } = (await readHash(user)) ?? {};
      const between = ++seq;
      const again = { jobId: randomUUID(), seq: ++seq };
      const first = await setHash(user, hash, again);
      expect(first?.result).toBe('unchanged');
      expect(await setHash(user, hash, again)).toEqual(first);
      expect(await readHash(user)).toMatchObject({ user: before, appliedSeq: again.seq });
      expect(await fixture.effects(user.id)).toBe(1);
      expect(await set(change(user, { seq: between }))).toEqual({ result: 'superseded' });
      await expectProof(user, password, true);
      expect((await setHash(user, hash, { changeRequired: true }))?.result).toBe('set');
      expect((await readHash(user))?.user.changeRequired).toBe(true);
    });

    it('does not call its own what somebody else has stored', async () => {
      if (!backend.readHash) return;
      const user = await addUser();
      expect(await readHash(user)).not.toHaveProperty('appliedSeq');
      await set(change(user));
      expect((await readHash(user))?.appliedSeq).toBe(seq);
      await fixture.foreignChange(user.org, user.id, newPassword());
      const read = await readHash(user);
      expect(read).not.toHaveProperty('appliedSeq');
      expect(read?.hash).toMatch(/\$2[aby]\$/);
      const nobody = await errorOf(backend.readHash(user.org, newId(), signal));
      expect(nobody).toMatchObject({ reason: 'COMMAND-G8dh3', scope: 'user' });
      const stranger = await errorOf(backend.readHash('org-2', user.id, signal));
      expect(stranger).toMatchObject({ reason: 'COMMAND-G8dh3', scope: 'user' });
    });

    it('reads a user who has no password', async () => {
      if (!backend.readHash) return;
      const user = await addUser();
      const read = await backend.readHash(user.org, user.id, signal);
      expect(read).not.toHaveProperty('hash');
      expect(read.user).toMatchObject({ user: user.id, org: user.org, state: 'active' });
    });

    it('lists everybody once, page by page, without deleted users and machines', async () => {
      const { users: page } = backend;
      if (!page) return;
      const wanted = [await addUser(), await addUser(), await addUser()];
      const others = states.includes('deleted') ? [await addUser({ state: 'deleted' })] : [];
      if (refusesMachines) others.push(await addUser({ isMachine: true }));
      const listed: ListedUser[] = [];
      const leftOut: LeftOut[] = [];
      let after: string | undefined;
      do {
        const { users, leftOut: left = [], next } = await page(after, 2, signal);
        expect(users.length + left.length).toBeLessThanOrEqual(2);
        listed.push(...users);
        leftOut.push(...left);
        after = next;
      } while (after !== undefined);
      const ids = listed.map(({ user }) => user);
      expect(new Set(ids).size).toBe(ids.length);
      expect(ids).toEqual(expect.arrayContaining(wanted.map(({ id }) => id)));
      for (const { id } of others) expect(ids).not.toContain(id);
      expect(listed.every(({ org }) => org === 'org-1')).toBe(true);
      if (refusesMachines) expect(leftOut.map(({ why }) => why)).toContain('machine');
    });
  });
}
