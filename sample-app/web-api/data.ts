export interface Message {
  from: string;
  subject: string;
  text: string;
}

export interface CalendarEvent {
  at: string;
  title: string;
}

export interface Payment {
  to: string;
  amount: string;
}

const contacts: Record<string, string[]> = {
  alice: ['Bob Baker', 'Carla Cook', 'Dave Diver'],
  bob: ['Alice Archer', 'Erin Engineer'],
};

const payments: Record<string, Payment[]> = {
  alice: [
    { to: 'Noodle place', amount: '14.20' },
    { to: 'Choir, yearly fee', amount: '60.00' },
  ],
  bob: [{ to: 'Bike shop', amount: '85.50' }],
};

const inboxes: Record<string, Message[]> = {
  alice: [
    {
      from: 'Bob',
      subject: 'Lunch on Thursday?',
      text: 'The new noodle place has opened. My treat this time.',
    },
    {
      from: 'Library',
      subject: 'Your book is ready',
      text: '“The Left Hand of Darkness” waits for you until Friday.',
    },
    { from: 'Mum', subject: 'Re: Photos <3', text: 'Lovely! Send me the one with the dog & the kite.' },
  ],
  bob: [
    {
      from: 'Alice',
      subject: 'Re: Lunch on Thursday?',
      text: 'Yes! Half past twelve, in front of the station.',
    },
    { from: 'Bike shop', subject: 'Repair finished', text: 'New chain, new brake pads. Open until six.' },
  ],
};

export function messagesOf(subject = 'nobody'): Message[] {
  return (
    inboxes[subject] ?? [
      { from: 'The sample', subject: 'It works', text: `You are ${subject} at your provider.` },
    ]
  );
}

/** Of everybody: what no user may see, and a nightly job may. */
export function messageCounts(): Record<string, number> {
  return Object.fromEntries(Object.entries(inboxes).map(([name, messages]) => [name, messages.length]));
}

export function contactsOf(subject = 'nobody'): string[] {
  return contacts[subject] ?? [`A contact of ${subject}`];
}

export function paymentsOf(subject = 'nobody'): Payment[] {
  return payments[subject] ?? [{ to: 'The sample', amount: '1.00' }];
}

export function eventsOf(subject: string | undefined, today: Date): CalendarEvent[] {
  const other = subject === 'alice' ? 'Bob' : 'Alice';
  const titles: [days: number, time: string, title: string][] = [
    [0, '09:30', 'Stand-up'],
    [1, '12:30', `Lunch with ${other}`],
    [3, '19:00', 'Choir'],
  ];
  return titles.map(([days, time, title]) => {
    const day = new Date(today.getTime() + days * 86_400_000).toISOString().slice(0, 10);
    return { at: `${day} ${time}`, title };
  });
}
