/** Seeds that have found something once, and what it was. The first of them is run by `make test`. */
export const keptSeeds: readonly number[] = [1];
