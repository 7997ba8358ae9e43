export interface Person {
  sub: string;
  name: string;
  email: string;
}

export const people: readonly Person[] = [
  { sub: 'alice', name: 'Alice Archer', email: 'alice@example.com' },
  { sub: 'bob', name: 'Bob Baker', email: 'bob@example.com' },
];
