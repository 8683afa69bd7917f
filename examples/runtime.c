/* runtime.c: the runtime without the database: all shards count primes, by pieces. */
#include <cascade_runtime.h>
#include <stdio.h>

enum { LIMIT = 1000000, PIECES = 16 };

struct piece {
	unsigned from, to, primes;
};

struct count {
	uint32_t shards;
	unsigned primes;
};

static bool is_prime(unsigned number)
{
	for (unsigned factor = 2; factor * factor <= number; factor++) {
		if (number % factor == 0)
			return false;
	}
	return number >= 2;
}

/* A task on any shard, which lets others go first from time to time. */
static void count_piece(cascade_runtime_task *self, void *argument)
{
	struct piece *piece = argument;
	for (unsigned number = piece->from; number < piece->to; number++) {
		piece->primes += is_prime(number);
		cascade_runtime_breathe(self);
	}
}

/* A task on shard 0: hands all pieces out, and waits for them at the barrier. */
static void count_all(cascade_runtime_task *self, void *argument)
{
	static const cascade_runtime_type type = { "count", count_piece, 16384 };
	struct count *count = argument;
	struct piece pieces[PIECES];
	cascade_runtime_join join;
	cascade_runtime_join_init(&join);
	for (unsigned i = 0; i < PIECES; i++) {
		pieces[i] = (struct piece) { LIMIT / PIECES * i, LIMIT / PIECES * (i + 1), 0 };
		cascade_runtime_post(self, i % count->shards, &type, &pieces[i], &join);
	}
	cascade_runtime_set_status(self, cascade_runtime_wait(self, &join, NULL));
	for (unsigned i = 0; i < PIECES; i++)
		count->primes += pieces[i].primes;
}

int main(void)
{
	cascade_runtime *runtime;
	cascade_runtime_future *future;
	if (cascade_runtime_create(NULL, &runtime) != CASCADE_OK)
		return fprintf(stderr, "create: %s\n", cascade_error_message()), 1;
	struct count count = { cascade_runtime_shard_count(runtime), 0 };
	if (cascade_runtime_submit(runtime, 0, count_all, &count, &future) != CASCADE_OK ||
	    cascade_runtime_future_wait(future) != CASCADE_OK)
		return fprintf(stderr, "count: %s\n", cascade_error_message()), 1;
	printf("%u primes below %u\n", count.primes, (unsigned)LIMIT);
	return cascade_runtime_destroy(runtime) == CASCADE_OK ? 0 : 1;
}
