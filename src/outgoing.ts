import { promises as dns } from 'node:dns';
import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';
import { PassferryError } from './errors.ts';

/** Host → its addresses, as texts; rejects when it has none. */
export type Resolve = (host: string) => Promise<string[]>;

/** Where a URL may be called: exactly these addresses, found and checked a moment ago. */
export interface Destination {
  url: URL;
  addresses: { address: string; family: 4 | 6 }[];
}

export type OutgoingCheck = (url: string) => Promise<Destination>;

type Range = [ipaddr.IPv4 | ipaddr.IPv6, number];

const longestUrl = 2_000;

/** Of the network of a cloud and not marked as such: Azure's host, which also tells metadata. */
const hostOfAzure = '168.63.129.16';
/** Global unicast; everything else of IPv6 has a purpose of its own or none yet. */
const globalUnicast = ipaddr.IPv6.parseCIDR('2000::/3');

/**
 * The guard before every call to a URL that somebody else chose: https only, a host that we resolve ourselves, and every one
 * of its addresses public. Whoever calls connects to the addresses that were checked (a name may have others a moment
 * later) and asks again before each call.
 * @param allow hosts, addresses and CIDRs where private addresses and http are allowed.
 * Errors: `webhook_url_invalid`, `webhook_url_forbidden`, `webhook_host_unknown`; all without the value.
 */
export function createOutgoingCheck(allow: readonly string[], resolve?: Resolve): OutgoingCheck {
  const ranges = allow.map(rangeOf).filter((range) => range !== undefined);
  const hosts = new Set(allow.filter((entry) => !rangeOf(entry)).map(bare));
  const isAllowed = (address: string) => {
    const parsed = ipaddr.process(address);
    return ranges.some((range) => parsed.kind() === range[0].kind() && parsed.match(range as never));
  };

  return async (text) => {
    const url = parse(text);
    const host = bare(url.hostname);
    const isKnownHost = hosts.has(host);
    if (!isKnownHost && /(^|\.)localhost$/.test(host)) throw forbidden();
    const addresses = isIP(host)
      ? [host]
      : await (resolve ?? (isKnownHost ? bySystem : byDns))(host).catch(unknownHost);
    if (addresses.length === 0) unknownHost();
    const isTrusted = isKnownHost || addresses.every(isAllowed);
    if (!isTrusted && url.protocol !== 'https:') throw forbidden();
    // One that may not be called is enough: the next answer of the same server may hold only that.
    if (!isKnownHost && !addresses.every((address) => isAllowed(address) || isPublic(address))) throw forbidden();
    return { url, addresses: addresses.map((address) => ({ address, family: isIP(address) === 6 ? 6 : 4 })) };
  };
}

/** Is this an entry of the allow-list: a host, an address or a CIDR? */
export function isAllowEntry(entry: string): boolean {
  return rangeOf(entry) !== undefined || /^(?=.{1,253}$)[a-z0-9_-]+(\.[a-z0-9_-]+)*$/i.test(entry);
}

/** May anybody's URL lead to this address? Everything that is not plainly the public internet may not. */
export function isPublic(address: string): boolean {
  if (!ipaddr.isValid(address)) return false;
  // 1.2.3.4 written as ::ffff:1.2.3.4 is 1.2.3.4.
  const parsed = ipaddr.process(address);
  if (parsed.toString() === hostOfAzure || parsed.range() !== 'unicast') return false;
  return parsed.kind() === 'ipv4' || (parsed as ipaddr.IPv6).match(globalUnicast);
}

function parse(text: string): URL {
  const url = text.length <= longestUrl && URL.canParse(text) ? new URL(text) : undefined;
  const isGood =
    url &&
    /^https?:$/.test(url.protocol) &&
    url.hostname !== '' &&
    // Credentials in a URL end up in logs and lists.
    url.username === '' &&
    url.password === '' &&
    url.hash === '' &&
    !/[\p{Cc}\s]/u.test(text);
  if (!isGood)
    throw new PassferryError('webhook_url_invalid', { fields: [{ field: 'url', reason: 'webhook_url_invalid' }] });
  return url;
}

function forbidden(): PassferryError {
  return new PassferryError('webhook_url_forbidden', { fields: [{ field: 'url', reason: 'webhook_url_forbidden' }] });
}

function unknownHost(): never {
  throw new PassferryError('webhook_host_unknown', { fields: [{ field: 'url', reason: 'webhook_host_unknown' }] });
}

/** `[::1]` → `::1`, `Host.` → `host`. */
function bare(host: string): string {
  return host
    .toLowerCase()
    .replace(/^\[|\]$/g, '')
    .replace(/\.$/, '');
}

function rangeOf(entry: string): Range | undefined {
  const text = entry.replace(/^\[|\]$/g, '');
  if (ipaddr.isValidCIDR(text)) return ipaddr.parseCIDR(text);
  if (isIP(text) === 0) return undefined;
  const address = ipaddr.process(text);
  return [address, address.kind() === 'ipv4' ? 32 : 128];
}

/** Straight from DNS: the system's resolver takes a thread for as long as it waits, and those threads hash passwords. */
async function byDns(host: string): Promise<string[]> {
  const resolver = new dns.Resolver({ timeout: 2_000, tries: 2 });
  const found = await Promise.allSettled([resolver.resolve4(host), resolver.resolve6(host)]);
  return found.flatMap((each) => (each.status === 'fulfilled' ? each.value : []));
}

/** Hosts of the allow-list may stand in a file of the machine. */
async function bySystem(host: string): Promise<string[]> {
  return (await dns.lookup(host, { all: true })).map(({ address }) => address);
}
