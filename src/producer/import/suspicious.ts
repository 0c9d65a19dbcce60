/** What may be wrong with a password or an id although it is taken as it is: counted, never changed. */
export const warningTexts = {
  password_space_around: 'a space, tab or the like before or after the password',
  password_odd_space: 'a no-break or invisible space in it',
  password_smart_quote: 'quotes or dashes that a word processor makes',
  password_control_character: 'a tab, line end or another control character in it',
  password_not_nfc: 'letters and accents apart: typed elsewhere it may be other bytes',
  password_mojibake: 'it looks like UTF-8 that was read as Windows-1252: look at the encoding',
  id_trailing_zeros: 'a long id that ends in 000, as spreadsheets round',
  id_space_around: 'a space before or after the id',
  hash_unmarked: '32 hexadecimal digits: taken for MD5, but nothing in them says so; prove one known password first',
  hash_weak: 'a hash that is cheap to guess: let people log in soon, so that the target hashes anew',
} as const;
export type WarningKind = keyof typeof warningTexts;
export const warningKinds = Object.keys(warningTexts) as WarningKind[];

/** Crypt and its children, LDAP, Django, Werkzeug, ASP.NET. */
const hashes = [
  /^!?\$(?:2[abxy]?|1|5|6|7|y|gy|md5|sha1|apr1|P|H|S|wp|argon2(?:id|i|d)?|pbkdf2[\w-]*|scrypt|bcrypt[\w-]*|s\d|ml|8)\$/i,
  /^\{(?:SSHA|SHA|SMD5|MD5|CRYPT|BLF-CRYPT|BCRYPT|ARGON2|PBKDF2|SCRYPT|X-|AES|MD5-CRYPT|NT)[\w-]*\}./i,
  /^(?:pbkdf2_sha\d+|bcrypt(?:_sha256)?|argon2|scrypt|sha1|md5|crypt|unsalted_\w+)\$./,
  /^(?:pbkdf2:sha\d+:\d+|scrypt:\d+:\d+:\d+)\$/,
  /^(?:[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{56}|[0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128})$/i,
  /^AQAAAA[A-Za-z0-9+/]{50,}={0,2}$/,
];

const markers = new Set(
  [
    '!',
    '!!',
    '*',
    'x',
    'locked',
    '*lk*',
    '*np*',
    'null',
    '(null)',
    '\\n',
    'undefined',
    'redacted',
    '[redacted]',
  ].concat(['<redacted>', '[object object]', 'none', 'nan', 'n/a', '#n/a', 'nil', '[secret]', '<null>']),
);

/** A first character that none of the two can do without, or all hexadecimal. */
const worthALook = /^[!$*{[<(#\\]|^[xlnurs]|^AQ|^[a-z0-9_]+[$:]|^[0-9a-f]{32,}$|^[•●*]+$/i;

/** Why text is surely no password that somebody types; undefined: it may be one. */
export function suspicion(password: string): 'password_is_hash' | 'password_marker' | undefined {
  if (!worthALook.test(password)) return undefined;
  if (hashes.some((hash) => hash.test(password))) return 'password_is_hash';
  // Django's mark of an unusable one; masks of other tools.
  if (/^!(?:[A-Za-z0-9]{40})?$|^[*•●]{3,}$/.test(password) || markers.has(password.toLowerCase()))
    return 'password_marker';
  return undefined;
}

const usual = /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/;

export function passwordWarnings(password: string, warn: (kind: WarningKind) => void): void {
  if (usual.test(password)) return;
  if (password.trim() !== password) warn('password_space_around');
  if (/[\u00a0\u2000-\u200d\u202f\u205f\u2060\u3000\ufeff]/.test(password)) warn('password_odd_space');
  if (/[\u2018-\u201f\u2010\u2011\u2013\u2014]/.test(password)) warn('password_smart_quote');
  if (/\p{Cc}/u.test(password)) warn('password_control_character');
  if (password.normalize('NFC') !== password) warn('password_not_nfc');
  // UTF-8 that was read as Windows-1252 or Latin-1.
  if (/[\u00c2\u00c3][\u0080-\u00bf\u0152-\u0192\u02c6-\u2122]/.test(password)) warn('password_mojibake');
}

export function idWarnings(id: string, warn: (kind: WarningKind) => void): void {
  // A spreadsheet keeps 15 digits.
  if (id.length > 15 && id.endsWith('000') && /^\d+$/.test(id)) warn('id_trailing_zeros');
  if (id.trim() !== id) warn('id_space_around');
}
