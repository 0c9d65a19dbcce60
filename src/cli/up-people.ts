/** Invented people for a first try: two organizations, one at each stage. All have the password `Old-password-1`. */
export const sampleOrgs = { v1: 'acme', v2: 'globex' } as const;
export const samplePassword = 'Old-password-1';

export const samplePeople: { id: string; org: string; userName: string; email?: string }[] = [
  { id: '100000000000000001', org: sampleOrgs.v1, userName: 'ada' },
  { id: '100000000000000002', org: sampleOrgs.v1, userName: 'grace' },
  { id: '200000000000000001', org: sampleOrgs.v2, userName: 'linus', email: 'linus@example.com' },
  { id: '200000000000000002', org: sampleOrgs.v2, userName: 'margaret', email: 'margaret@example.com' },
];
