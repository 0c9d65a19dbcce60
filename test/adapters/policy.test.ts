import { describe, expect, it } from 'vitest';
import type { Policy } from '../../src/adapters/policy.ts';
import { checkPolicy, defaultPolicy } from '../../src/adapters/policy.ts';
import { PassferryError } from '../../src/errors.ts';

const nothing: Policy = { minLength: 1, lower: false, upper: false, number: false, symbol: false };

function verdict(password: string, policy = defaultPolicy): string {
  try {
    checkPolicy(Buffer.from(password), policy);
    return 'ok';
  } catch (error) {
    if (!(error instanceof PassferryError)) throw error;
    expect(error).toMatchObject({ code: 'invalid_argument', scope: 'user', effect: 'none' });
    return `${error.reason} ${error.message}`;
  }
}

describe('policy', () => {
  it.each([
    ['', 'DOMAIN-HuJf6 Password is too short'],
    ['AAAAAAAA', 'DOMAIN-co3Xw Password must contain lower case'],
    ['aaaaaaaa', 'DOMAIN-VoaRj Password must contain upper case'],
    ['AAAAaaaa', 'DOMAIN-ZBv4H Password must contain number'],
    ['AAAAaaa1', 'DOMAIN-ZDLwA Password must contain symbol'],
    ['AAAAaa1!', 'ok'],
  ])('names the first rule that %j breaks', (password, expected) => {
    expect(verdict(password)).toBe(expected);
  });

  it.each([
    ['Aa1éé', 7, 'ok'],
    ['Aa1éé', 8, 'DOMAIN-HuJf6 Password is too short'],
  ])('counts bytes: %j against %i', (password, minLength, expected) => {
    expect(verdict(password, { ...defaultPolicy, minLength })).toBe(expected);
  });

  it.each([' ', 'é', 'ß', '🔑', '_'])('takes %j as a symbol', (symbol) => {
    expect(verdict(`AAAAaaa1${symbol}`)).toBe('ok');
  });

  it('takes only ASCII letters and digits for the other classes', () => {
    expect(verdict('ÉÉÉÉ', { ...nothing, upper: true })).toBe('DOMAIN-VoaRj Password must contain upper case');
    expect(verdict('éééé', { ...nothing, lower: true })).toBe('DOMAIN-co3Xw Password must contain lower case');
    expect(verdict('٣٣٣٣', { ...nothing, number: true })).toBe('DOMAIN-ZBv4H Password must contain number');
  });

  it('asks for nothing that the policy does not', () => {
    expect(verdict('a', nothing)).toBe('ok');
  });
});
