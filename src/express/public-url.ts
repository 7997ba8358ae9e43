import type { Request } from 'express';
import { publicPath } from '../core/return-to.ts';

/** The URL of a request as its caller sees it, without the query: the base URL is the truth, never `Host`. */
export function publicUrl(req: Request, baseUrl: URL): string {
  const path = req.originalUrl.split('?', 1)[0] as string;
  return baseUrl.origin + publicPath(path, baseUrl);
}
