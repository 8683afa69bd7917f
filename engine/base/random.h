/*
 * random.h: counter-based random numbers: number i of stream `seed` is a pure function of (seed, i), so
 * any draw can be repeated alone and streams never depend on who drew first. The mixer is splitmix64's
 * finalizer (Steele, Lea, Flood, OOPSLA 2014; constants of Stafford's variant 13).
 */
#ifndef CASCADE_BASE_RANDOM_H
#define CASCADE_BASE_RANDOM_H

#include <stdint.h>

struct random {
	uint64_t seed;
	uint64_t counter;
};

static inline uint64_t random_mix(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9ull;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebull;
	x ^= x >> 31;
	return x;
}

static inline uint64_t random_at(uint64_t seed, uint64_t counter)
{
	return random_mix(random_mix(seed + 0x9e3779b97f4a7c15ull) + (counter + 1) * 0x9e3779b97f4a7c15ull);
}

static inline struct random random_stream(uint64_t seed)
{
	return (struct random) { .seed = seed, .counter = 0 };
}

static inline uint64_t random_next(struct random *random)
{
	return random_at(random->seed, random->counter++);
}

/* 0 .. bound-1; bias below bound / 2^64. bound > 0. */
static inline uint64_t random_below(struct random *random, uint64_t bound)
{
	return (uint64_t)(((unsigned __int128)random_next(random) * bound) >> 64);
}

/* [0, 1) with 53 bits. */
static inline double random_unit(struct random *random)
{
	return (double)(random_next(random) >> 11) * 0x1.0p-53;
}

/* A seed that differs from run to run. Simulated worlds replace it with their own. */
uint64_t random_entropy(void);

typedef uint64_t random_source(void *context);
void random_set_entropy_source(random_source *source, void *context);

#endif
