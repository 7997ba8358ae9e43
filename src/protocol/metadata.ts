/** A list in a provider's metadata. What is none, such as the `null` of some serializers, counts as left out. */
export function listed(value: unknown): readonly unknown[] | undefined {
  return Array.isArray(value) ? value : undefined;
}
