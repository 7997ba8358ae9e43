import type { Request } from 'express';
import { isRecord } from '../core/cache-codec.ts';

const MAX_BYTES = 64 * 1024;

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
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of req as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_BYTES) return undefined;
    chunks.push(chunk);
  }
  return new URLSearchParams(Buffer.concat(chunks).toString('utf8'));
}
