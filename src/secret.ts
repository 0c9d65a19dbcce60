import { inspect } from 'node:util';

/**
 * A password in clear, in the memory of the process that needs it. Prints as `[secret]` wherever something prints it (P4).
 * Keep it as bytes for as long as possible: `wipe` zeroes them; strings that were revealed live until collected.
 */
export class Secret {
  readonly #bytes: Buffer;

  /** Takes over the bytes: they are zeroed by {@link wipe}. */
  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  static fromString(text: string): Secret {
    return new Secret(Buffer.from(text, 'utf8'));
  }

  /** The bytes themselves, not a copy. */
  bytes(): Buffer {
    return this.#bytes;
  }

  /** A string made at the last moment, for a call that takes nothing else. */
  reveal(): string {
    return this.#bytes.toString('utf8');
  }

  wipe(): void {
    this.#bytes.fill(0);
  }

  toString(): string {
    return '[secret]';
  }

  toJSON(): string {
    return '[secret]';
  }

  [inspect.custom](): string {
    return '[secret]';
  }
}
