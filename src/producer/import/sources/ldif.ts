import { type Fields, isBlank, type Person, type Source } from './source.ts';
import { named } from './tables.ts';

/**
 * Directories: LDIF of OpenLDAP, 389 Directory Server, OpenDJ; of Active Directory, which has no passwords. The user name is `uid`,
 * else `sAMAccountName`; the id `entryUUID`, or what `hashParams` names (`{"id": "dn"}`): a dn is no id unless somebody says so.
 */
export const ldif: Source = {
  name: 'ldif',
  title: 'a directory (LDIF)',
  containers: ['ldif'],
  by: ['username', 'email', 'id'],
  recognise: () => 'sure',
  hasPasswords: ({ records }) => {
    const people = records.filter(isPerson);
    return people.length === 0 || people.some((fields) => fields.userpassword !== undefined);
  },
  read(fields, { by, hashParams }) {
    if (!isPerson(fields)) return undefined;
    const id = fields[String(hashParams?.id ?? 'entryUUID').toLowerCase()];
    const who = named(id, fields.mail, fields.uid ?? fields.samaccountname);
    const asked = by === 'id' ? who.id : by === 'email' ? who.email : who.userName;
    if (Array.isArray(asked)) return { refused: 'value_repeated' };
    const { userpassword: password } = fields;
    if (Array.isArray(password)) return { ...who, refused: 'value_repeated' };
    return { ...who, ...setAt(fields.pwdchangedtime), ...secret(password) };
  },
};

/** Of groups and units only those that could log in. */
function isPerson(fields: Fields): boolean {
  const { uid, mail, samaccountname, objectclass, userpassword } = fields;
  const classes = (Array.isArray(objectclass) ? objectclass : [objectclass]).map((each) => String(each).toLowerCase());
  if (
    classes.some((each) => each === 'computer' || /^(?:posixgroup|group|groupofnames|organizationalunit)$/.test(each))
  ) {
    return false;
  }
  if (uid !== undefined || samaccountname !== undefined) return true;
  return mail !== undefined && (userpassword !== undefined || classes.includes('person'));
}

/** `{SCHEME}…` and what begins like crypt(3) is a hash; anything else somebody has stored in clear. */
function secret(value: unknown): Partial<Person> {
  if (isBlank(value)) return { passwordHash: '' };
  const isHash = typeof value !== 'string' || /^(?:\{[A-Za-z][\w.-]*\}|\$\w+\$|!|\*)/.test(value);
  return isHash ? { passwordHash: value } : { password: value };
}

/** `20240305163516Z` */
function setAt(value: unknown): Partial<Person> {
  const [, ...parts] = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(?:\.\d+)?Z$/.exec(String(value)) ?? [];
  const [year, month, day, hour, minute, second] = parts;
  return year === undefined ? {} : { setAt: `${year}-${month}-${day}T${hour}:${minute}:${second}Z` };
}
