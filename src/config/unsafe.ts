export const insecureNames = ['redis', 'sql', 'v1', 'v2', 'oidc', 'listen', 'admin', 'durability'] as const;

/** What may be refused for being unsafe, by name in PASSFERRY_ALLOW_INSECURE. */
export type InsecureName = (typeof insecureNames)[number];

export function allows(config: { PASSFERRY_ALLOW_INSECURE: string[] }, name: InsecureName): boolean {
  return config.PASSFERRY_ALLOW_INSECURE.includes(name);
}

export function unsafeRedis(config: { PASSFERRY_REDIS_URL: string; PASSFERRY_ALLOW_INSECURE: string[] }): string[] {
  return unsafe(
    config,
    'redis',
    'PASSFERRY_REDIS_URL',
    config.PASSFERRY_REDIS_URL,
    (u) => u.protocol !== 'rediss:' || u.password === '',
  );
}

export function unsafe(
  config: { PASSFERRY_ALLOW_INSECURE: string[] },
  allow: InsecureName,
  name: string,
  value: string | undefined,
  isUnsafe: (url: URL) => boolean,
): string[] {
  if (!value || allows(config, allow)) return [];
  const parsed = new URL(value);
  if (isLoopback(parsed.hostname) || !isUnsafe(parsed)) return [];
  return [
    `${name} is not a loopback address and lacks TLS or a password (allow with PASSFERRY_ALLOW_INSECURE=${allow})`,
  ];
}

export function unsafeAdmin(config: {
  PASSFERRY_ADMIN_LISTEN?: { host: string; port: number } | undefined;
  PASSFERRY_ALLOW_INSECURE: string[];
}): string[] {
  const { PASSFERRY_ADMIN_LISTEN: admin } = config;
  return !admin || isLoopback(admin.host) || allows(config, 'admin')
    ? []
    : ['PASSFERRY_ADMIN_LISTEN is not a loopback address and this port asks for no token (allow: admin)'];
}

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host === '[::1]' || /^127(\.\d{1,3}){3}$/.test(host);
}
