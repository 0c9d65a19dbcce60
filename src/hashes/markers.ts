import type { Found } from './kinds.ts';

const markers = new Set(
  (
    '! !! * x !* *lk* *np* np ! locked disabled null (null) <null> \\n undefined redacted [redacted] <redacted> ' +
    'none nil nan n/a #n/a [secret] [hidden] invalid unusable'
  ).split(' '),
);

/** Words and signs that mean "no usable password". They must never become one. */
export function parseMarker(text: string): Found | undefined {
  if (text.trim() === '') return { kind: 'none', refused: 'hash_empty' };
  const lower = text.toLowerCase();
  // Django writes `!` and 40 random characters.
  if (markers.has(lower) || lower === '[object object]' || /^!(?:[A-Za-z0-9]{40})?$|^[*•●]{2,}$/.test(text))
    return { kind: 'none', refused: 'hash_marker' };
  // shadow(5): a lock mark before the hash.
  if (/^(?:!{1,2}|\*LK\*|\*LOCKED\*)[${]/.test(text)) return { kind: 'locked', refused: 'hash_locked' };
  return undefined;
}
