import type { Request } from 'express';
import { isRecord } from '../core/cache-codec.ts';

/** How large a form may be. */
export const MAX_FORM_BYTES: number = 64 * 1024;

/** The fields of an urlencoded body, read already by the app or not. Undefined when it is another kind, or too large. */
export async function readForm(req: Request): Promise<URLSearchParams | undefined> {
  const parsed: unknown = req.body;
  if (isRecord(parsed) && Object.keys(parsed).length > 0) {
    const fields = Object.entries(parsed).flatMap(([name, value]) =>
      typeof value === 'string' ? [[name, value]] : [],
    );
    return new URLSearchParams(fields as [string, string][]);
  }
  if (!req.is('application/x-www-form-urlencoded') || req.readableEnded) return undefined;
  const bytes = await readBytes(req);
  return bytes && new URLSearchParams(bytes.toString('utf8'));
}

/**
 * A body that nobody has read; undefined when it is too large. The rest of that flows away: a request that is only
 * left, as `for await` leaves it, takes the connection with it before there is an answer.
 */
export function readBytes(req: Request): Promise<Buffer | undefined> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    req.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes <= MAX_FORM_BYTES) chunks.push(chunk);
      else resolve(undefined);
    });
    req.on('end', () => resolve(Buffer.concat(chunks)));
    req.on('error', reject);
  });
}
