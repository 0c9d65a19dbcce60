import { sampleOrgs } from '../src/cli/up-people.ts';

export const oldPassword = 'Old-password-1';

/** 300 invented people, half in each organization, each with a password of their own. */
export const demoPeople = Array.from({ length: 300 }, (_, i) => {
  const org = i < 150 ? sampleOrgs.v1 : sampleOrgs.v2;
  const number = String(i + 1).padStart(3, '0');
  return { id: `30000000000000${number}`, org, userName: `person-${number}`, password: `Fresh-password-${number}` };
});

/** Each fault is another kind; none of these rows may be set. */
const faulty = [
  `399999999999999999,Fresh-password-1,${sampleOrgs.v1}`,
  `${demoPeople[200]?.id},Fresh-password-1,${sampleOrgs.v1}`,
  `not-yet-initialized,Fresh-password-1,${sampleOrgs.v1}`,
  `,Fresh-password-1,${sampleOrgs.v1}`,
  `${demoPeople[3]?.id},,${sampleOrgs.v1}`,
  `399999999999999001,short,${sampleOrgs.v2}`,
  `${demoPeople[151]?.id},no-upper-case-1,${sampleOrgs.v2}`,
  `1.04133E+17,Fresh-password-1,${sampleOrgs.v1}`,
  `399999999999999002,${'x'.repeat(73)},${sampleOrgs.v1}`,
  '399999999999999003,Fresh-password-1,initech',
  '399999999999999004,one,column,too many',
  `399999999999999005,"${'é'.repeat(40)}",${sampleOrgs.v2}`,
];

/** The people, with a faulty row after every 25th. */
export function demoFile(): string {
  const lines = ['userId,password,orgId'];
  const faults = [...faulty];
  demoPeople.forEach(({ id, password, org }, i) => {
    lines.push(`${id},${password},${org}`);
    if (i % 25 === 24) lines.push(faults.shift() ?? '');
  });
  return `${lines.filter((line) => line !== '').join('\n')}\n`;
}

/** The rejects with what a person put right: the password or the organization of people who exist; the others are taken out. */
export function correctedFile(rejects: string): string {
  const [header = '', ...lines] = rejects.split('\n');
  const known = lines.flatMap((line) => {
    const [, id, rest] = /^([^,]*),[^,]*,[^,]*(,.*)$/.exec(line) ?? [];
    const person = demoPeople.find((each) => each.id === id);
    return person ? [`${person.id},${person.password},${person.org}${rest}`] : [];
  });
  return `${[header, ...known].join('\n')}\n`;
}
