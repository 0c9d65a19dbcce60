import { describe, expect, it, test } from 'vitest';
import { createOutgoingCheck, isAllowEntry, isPublic, type Resolve } from '../src/outgoing.ts';

const resolvesTo = (...addresses: string[]): Resolve => {
  return async () => addresses;
};
const reasonOf = (check: Promise<unknown>) =>
  check.then(
    () => 'allowed',
    (error: { reason: string }) => error.reason,
  );

/** Kind → one address of it. */
const privateAddresses: [string, string][] = [
  ['loopback', '127.0.0.1'],
  ['loopback beyond .1', '127.8.9.1'],
  ['private 10/8', '10.1.2.3'],
  ['private 172.16/12', '172.31.255.254'],
  ['private 192.168/16', '192.168.0.1'],
  ['link-local', '169.254.1.1'],
  ['metadata of clouds', '169.254.169.254'],
  ["metadata of Alibaba's cloud", '100.100.100.200'],
  ["Azure's host", '168.63.129.16'],
  ['carrier-grade NAT', '100.64.0.1'],
  ['unspecified', '0.0.0.0'],
  ['this network', '0.1.2.3'],
  ['multicast', '224.0.0.1'],
  ['broadcast', '255.255.255.255'],
  ['benchmarking', '198.18.0.1'],
  ['documentation', '192.0.2.1'],
  ['reserved', '240.0.0.1'],
  ['IPv6 loopback', '::1'],
  ['IPv6 unspecified', '::'],
  ['IPv6 link-local', 'fe80::1'],
  ['IPv6 unique-local', 'fd00:ec2::254'],
  ['IPv6 site-local', 'fec0::1'],
  ['IPv6 multicast', 'ff02::1'],
  ['IPv4-mapped loopback', '::ffff:127.0.0.1'],
  ['IPv4-mapped private, in hex', '::ffff:a01:203'],
  ['IPv4-compatible loopback', '::127.0.0.1'],
  ['NAT64 of a private address', '64:ff9b::a00:1'],
  ['NAT64 of a public address', '64:ff9b::808:808'],
  ['local NAT64', '64:ff9b:1::a00:1'],
  ['6to4 of a private address', '2002:a00:1::1'],
  ['Teredo', '2001::1'],
  ['documentation in IPv6', '2001:db8::1'],
  ['IPv6 with a zone', 'fe80::1%eth0'],
  ['not an address', 'example.com'],
];

test.each(privateAddresses)('%s is not public: %s', (_kind, address) => {
  expect(isPublic(address)).toBe(false);
});

test.each(['8.8.8.8', '1.1.1.1', '2606:4700:4700::1111', '::ffff:8.8.8.8'])('%s is public', (address) => {
  expect(isPublic(address)).toBe(true);
});

describe('a URL of a webhook', () => {
  const check = createOutgoingCheck([], resolvesTo('93.184.216.34', '2606:2800:220:1::1'));

  it('leads to exactly the addresses that were checked', async () => {
    expect(await check('https://hooks.example.com/in?x=1')).toMatchObject({
      addresses: [
        { address: '93.184.216.34', family: 4 },
        { address: '2606:2800:220:1::1', family: 6 },
      ],
    });
  });

  test.each(privateAddresses.filter(([kind]) => !/zone|not an/.test(kind)))(
    'is refused when its name leads to %s, also among public addresses',
    async (_kind, address) => {
      for (const found of [[address], ['93.184.216.34', address]]) {
        const refuses = createOutgoingCheck([], resolvesTo(...found));
        expect(await reasonOf(refuses('https://hooks.example.com/'))).toBe('webhook_url_forbidden');
      }
    },
  );

  test.each([
    'https://127.0.0.1/',
    'https://2130706433/',
    'https://0x7f000001/',
    'https://0x7f.0.0.1/',
    'https://0177.0.0.1/',
    'https://127.1/',
    'https://0/',
    'https://①②⑦.⓪.⓪.①/',
    'https://[::1]/',
    'https://[::ffff:127.0.0.1]/',
    'https://[::ffff:7f00:1]/',
    'https://[0:0:0:0:0:ffff:a9fe:a9fe]/',
    'https://[64:ff9b::7f00:1]/',
    'https://169.254.169.254/latest/meta-data/',
    'https://localhost/',
    'https://LOCALHOST./',
    'https://a.localhost/',
    'http://hooks.example.com/',
  ])('is refused: %s', async (url) => {
    expect(await reasonOf(check(url))).toBe('webhook_url_forbidden');
  });

  test.each([
    '',
    'hooks.example.com',
    'ftp://hooks.example.com/',
    'file:///etc/passwd',
    'https://user@hooks.example.com/',
    'https://user:pass@hooks.example.com/',
    'https://hooks.example.com/#part',
    'https://hooks.example.com/\n',
    'https://[fe80::1%25eth0]/',
    `https://hooks.example.com/${'x'.repeat(2_000)}`,
  ])('is not one: %s', async (url) => {
    expect(await reasonOf(check(url))).toBe('webhook_url_invalid');
  });

  it('is refused when its host has no address', async () => {
    const fails: Resolve = () => Promise.reject(new Error('ENOTFOUND hooks.example.com'));
    for (const resolve of [resolvesTo(), fails]) {
      expect(await reasonOf(createOutgoingCheck([], resolve)('https://hooks.example.com/'))).toBe(
        'webhook_host_unknown',
      );
    }
  });

  it('is checked anew each time: a name that moves is refused then', async () => {
    const answers = [['93.184.216.34'], ['127.0.0.1']];
    const moving = createOutgoingCheck([], async () => answers.shift() ?? []);
    expect(await reasonOf(moving('https://hooks.example.com/'))).toBe('allowed');
    expect(await reasonOf(moving('https://hooks.example.com/'))).toBe('webhook_url_forbidden');
  });

  it('never stands in the error', async () => {
    const error = await check('https://user:very-secret@10.0.0.1/').catch((thrown) => thrown);
    expect(JSON.stringify(error) + error.message).not.toContain('very-secret');
  });
});

describe('the allow-list', () => {
  it('takes addresses and CIDRs, also for http', async () => {
    const check = createOutgoingCheck(['10.1.0.0/16', '::1', '127.0.0.1'], resolvesTo('10.1.2.3'));
    for (const url of ['http://10.1.0.1/', 'http://[::1]:8080/', 'http://127.0.0.1/', 'http://in.example.com/']) {
      expect(await reasonOf(check(url)), url).toBe('allowed');
    }
    for (const url of ['http://10.2.0.1/', 'https://10.2.0.1/', 'https://127.0.0.2/', 'http://8.8.8.8/']) {
      expect(await reasonOf(check(url)), url).toBe('webhook_url_forbidden');
    }
    expect(await reasonOf(check('http://[::ffff:127.0.0.1]/'))).toBe('allowed');
  });

  it('takes hosts, wherever they lead, and no other', async () => {
    const check = createOutgoingCheck(['hooks.internal'], resolvesTo('10.1.2.3'));
    expect(await reasonOf(check('http://Hooks.internal./'))).toBe('allowed');
    expect(await reasonOf(check('http://a.hooks.internal/'))).toBe('webhook_url_forbidden');
    expect(await reasonOf(check('https://hooks.internal.example.com/'))).toBe('webhook_url_forbidden');
  });

  test.each([
    ['hooks.internal', true],
    ['10.0.0.0/8', true],
    ['fd00::/8', true],
    ['[::1]', true],
    ['10.0.0.0/40', false],
    ['https://hooks.internal', false],
    ['*', false],
    ['a b', false],
  ])('%s is an entry: %s', (entry, expected) => {
    expect(isAllowEntry(entry)).toBe(expected);
  });
});
