import type { IncomingHttpHeaders } from 'node:http';
import ipaddr from 'ipaddr.js';

type Address = ipaddr.IPv4 | ipaddr.IPv6;
type Network = [Address, number];

/** Where a proxy says whom it speaks for. One is believed: what the proxy does not write itself, its client writes. */
type ProxyHeader = 'x-forwarded-for' | 'forwarded';

export interface TrustedProxies {
  networks: Network[];
  header: ProxyHeader;
}

/** `10.0.0.0/8`, `fd00::/8`, or a single address. Undefined for anything else. */
export function parseNetwork(text: string): Network | undefined {
  try {
    if (text.includes('/')) return ipaddr.parseCIDR(text);
    const address = ipaddr.parse(text);
    return [address, address.kind() === 'ipv4' ? 32 : 128];
  } catch {
    return undefined;
  }
}

/**
 * Whom a request comes from: an IPv4 address, or the /64 of an IPv6 one, which is what one customer has. Behind trusted
 * proxies the rightmost address that is not one of them; everything to the left of it is the client's own word.
 */
export function clientAddress(
  request: { headers: IncomingHttpHeaders; socket: { remoteAddress?: string | undefined } },
  trusted: TrustedProxies,
): string {
  let client = parseAddress(request.socket.remoteAddress ?? '');
  if (!client) return 'unknown';
  const said = String(request.headers[trusted.header] ?? '');
  const told = trusted.header === 'forwarded' ? forwardedFor(said) : said.split(',');
  while (told.length > 0 && isIn(client, trusted.networks)) {
    const before = parseAddress(withoutPort(told.pop() as string));
    // Not an address: whoever passed it on is all that is known.
    if (!before) break;
    client = before;
  }
  return keyOf(client);
}

/** An IPv4 address inside IPv6 is that address. */
function parseAddress(text: string): Address | undefined {
  // The shorthands of IPv4 such as 0x7f.1 are no address that a proxy writes.
  const strict = text.includes(':') ? ipaddr.IPv6.isValid(text) : ipaddr.IPv4.isValidFourPartDecimal(text);
  return strict ? ipaddr.process(text) : undefined;
}

function isIn(address: Address, networks: Network[]): boolean {
  return networks.some(([network, bits]) => address.kind() === network.kind() && address.match(network, bits));
}

function keyOf(address: Address): string {
  if (address.kind() === 'ipv4') return address.toString();
  return `${(address as ipaddr.IPv6).parts
    .slice(0, 4)
    .map((part) => part.toString(16))
    .join(':')}::/64`;
}

function withoutPort(text: string): string {
  const said = text.trim();
  const [, bracketed, plain] = /^(?:\[([^\]]*)\]|(\d+\.\d+\.\d+\.\d+))(?::\d+)?$/.exec(said) ?? [];
  return bracketed ?? plain ?? said;
}

/** RFC 7239: the `for` of each element; of an element without one, an empty text. */
function forwardedFor(said: string): string[] {
  const elements = said.match(/(?:"(?:\\.|[^"\\])*"|[^,"])+/g) ?? [];
  return elements.map((element) => {
    const [, quoted, plain] = /(?:^|;)\s*for=(?:"([^"]*)"|([^;"]*))/i.exec(element) ?? [];
    return quoted ?? plain ?? '';
  });
}
