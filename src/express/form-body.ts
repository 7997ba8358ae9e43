import type { Request } from 'express';
import { isRecord } from '../core/cache-codec.ts';

/** How large a form may be. */
export const MAX_FORM_BYTES: number = 64 * 1024;

/** The fields of an urlencoded body, read already by the app or not. Undefined when it is another kind, or too large. */
export async function readForm(req: Request): Promise<URLSearchParams | undefined> {
  const parsed: unknown = req.body;
  if (isRecord(parsed) && !Buffer.isBuffer(parsed) && Object.keys(parsed).length > 0) {
    const fields = Object.entries(parsed).flatMap(([name, value]) =>
      typeof value === 'string' ? [[name, value]] : [],
    );
    return new URLSearchParams(fields as [string, string][]);
  }
  if (!req.is('application/x-www-form-urlencoded')) return undefined;
  if (typeof parsed === 'string' || Buffer.isBuffer(parsed)) return new URLSearchParams(String(parsed));
  if (req.readableEnded) return undefined;
  const bytes = await readBytes(req);
  return bytes && new URLSearchParams(bytes.toString('utf8'));
}

/**
 * A body that nobody has read; undefined when it is too large. The rest of that flows away: a request that is only
 * left, as `for await` leaves it, takes the connection with it before there is an answer.
 */
export function readBytes(req: Request): Promise<Buffer | undefined> {
  return new Promise((resolve, reject) => {
    // Whoever went away before says nothing any more.
    if (req.destroyed) return reject(new Error('The request was aborted'));
    const chunks: Buffer[] = [];
    let bytes = 0;
    req.on('data', (data: Buffer | string) => {
      // Text, where somebody in front has set an encoding.
      const chunk = Buffer.from(data as string);
      bytes += chunk.length;
      if (bytes <= MAX_FORM_BYTES) chunks.push(chunk);
      else resolve(undefined);
    });
    req.on('end', () => resolve(Buffer.concat(chunks)));
    req.on('error', reject);
    req.on('close', () => reject(new Error('The request was aborted')));
  });
}
