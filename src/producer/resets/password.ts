import { randomInt } from 'node:crypto';
import { Secret } from '../../secret.ts';

/** What common policies ask for, without letters and digits that people take for one another. */
const classes = ['ABCDEFGHJKLMNPQRSTUVWXYZ', 'abcdefghijkmnopqrstuvwxyz', '23456789', '!#$%*+-=?@_'].map((text) =>
  Buffer.from(text),
);
const all = Buffer.concat(classes);
const length = 24;

/** 24 random characters (more than 140 bits), at least one upper case letter, lower case letter, digit and symbol. */
export function makePassword(): Secret {
  const bytes = Buffer.alloc(length);
  do {
    for (let i = 0; i < length; i++) bytes[i] = all[randomInt(all.length)] as number;
    // Drawn anew as a whole, so that every fitting password is as likely as any other.
  } while (!classes.every((each) => bytes.some((byte) => each.includes(byte))));
  return new Secret(bytes);
}
