import type { Source } from './source.ts';

/** Amazon Cognito: no export of it has passwords, so its files are recognised and refused as a whole. */
export const cognito: Source = {
  name: 'cognito',
  title: 'Amazon Cognito',
  containers: ['csv', 'json', 'ndjson'],
  lists: ['Users'],
  by: ['username'],
  resetsOnly: true,
  recognise({ names }) {
    if (names.some((name) => name.startsWith('cognito:'))) return 'sure';
    return names.includes('Username') && names.includes('UserStatus') && names.includes('Attributes') ? 'sure' : 'no';
  },
  read: () => undefined,
};
