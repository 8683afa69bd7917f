#include "compaction/merge.h"

#include "base/assert.h"
#include "base/memory.h"

#include "base/poison.h"

/* One input as the tree sees it. */
struct runner {
	uint64_t head; /* of its current key; UINT64_MAX with `valid` false sorts last */
	struct iterator *input;
};

struct merge_iterator {
	struct iterator base;
	size_t count;
	size_t skip; /* bytes of prefix that all current keys share */
	/* losers[0] is the winner, losers[1 .. count-1] the inner nodes; values index `runners`. */
	uint32_t *losers;
	struct runner *runners;
};

static struct merge_iterator *merge_of(struct iterator *iterator)
{
	return CONTAINER_OF(iterator, struct merge_iterator, base);
}

/* Whether input a comes before input b. Ended inputs come last; ties are decided by number. */
static bool runner_precedes(const struct merge_iterator *merge, uint32_t a, uint32_t b)
{
	const struct runner *left = &merge->runners[a];
	const struct runner *right = &merge->runners[b];
	if (left->head != right->head)
		return left->head < right->head;
	if (!left->input->valid || !right->input->valid)
		return left->input->valid || (!right->input->valid && a < b);
	const struct entry *x = &left->input->entry;
	const struct entry *y = &right->input->entry;
	int order = slice_compare(slice_skip(x->key, merge->skip), slice_skip(y->key, merge->skip));
	if (order != 0)
		return order < 0;
	if (x->sequence != y->sequence)
		return x->sequence > y->sequence;
	return a < b;
}

static void runner_update_head(struct merge_iterator *merge, struct runner *runner)
{
	runner->head = runner->input->valid ? slice_head(runner->input->entry.key, merge->skip) : UINT64_MAX;
}

/* Plays the whole tournament: after a seek, or when the shared prefix changed. */
static void merge_build(struct merge_iterator *merge)
{
	size_t count = merge->count;
	for (size_t i = 0; i < count; i++)
		runner_update_head(merge, &merge->runners[i]);
	/* Leaf i is node count + i; inner node n holds the loser between the winners of its children. The
	 * winners are kept beside, in the second half of `losers`. */
	uint32_t *winners = merge->losers + count;
	for (size_t i = 0; i < count; i++)
		winners[count + i] = (uint32_t)i;
	for (size_t node = count - 1; node >= 1; node--) {
		uint32_t left = winners[2 * node];
		uint32_t right = winners[2 * node + 1];
		bool left_wins = runner_precedes(merge, left, right);
		winners[node] = left_wins ? left : right;
		merge->losers[node] = left_wins ? right : left;
	}
	merge->losers[0] = winners[1];
}

/* Lets the winner, whose input has moved, play its way up again. */
static void merge_replay(struct merge_iterator *merge)
{
	uint32_t winner = merge->losers[0];
	for (size_t node = (merge->count + winner) / 2; node >= 1; node /= 2) {
		uint32_t rival = merge->losers[node];
		if (runner_precedes(merge, rival, winner)) {
			merge->losers[node] = winner;
			winner = rival;
		}
	}
	merge->losers[0] = winner;
}

static void merge_publish(struct merge_iterator *merge)
{
	const struct iterator *input = merge->runners[merge->losers[0]].input;
	merge->base.valid = input->valid;
	if (input->valid)
		merge->base.entry = input->entry;
}

/*
 * The prefix shared by all current keys, but no more than `limit`: between seeks it only shrinks, so that it
 * settles instead of following every digit that turns over. Later keys may not share it: merge_next checks.
 */
static void merge_measure_prefix(struct merge_iterator *merge, size_t limit)
{
	const struct entry *first = NULL;
	size_t shared = limit;
	for (size_t i = 0; i < merge->count; i++) {
		const struct iterator *input = merge->runners[i].input;
		if (!input->valid)
			continue;
		if (first == NULL) {
			first = &input->entry;
			shared = first->key.size < shared ? first->key.size : shared;
			continue;
		}
		size_t common = slice_common_prefix(first->key, input->entry.key);
		shared = common < shared ? common : shared;
	}
	merge->skip = first == NULL ? 0 : shared;
}

static struct status merge_seek(struct task *self, struct iterator *iterator, struct slice key,
				uint64_t sequence)
{
	struct merge_iterator *merge = merge_of(iterator);
	merge->base.valid = false;
	for (size_t i = 0; i < merge->count; i++)
		TRY(iterator_seek(self, merge->runners[i].input, key, sequence));
	merge_measure_prefix(merge, SIZE_MAX);
	merge_build(merge);
	merge_publish(merge);
	return status_ok();
}

/*
 * Whether the key that an input has just reached begins as all others do: comparing with any one of them
 * tells. An input alone has nobody to be compared with.
 */
static bool merge_prefix_holds(const struct merge_iterator *merge, const struct iterator *input)
{
	if (merge->skip == 0 || !input->valid)
		return true;
	for (size_t i = 0; i < merge->count; i++) {
		const struct iterator *other = merge->runners[i].input;
		if (other == input || !other->valid)
			continue;
		return input->entry.key.size >= merge->skip &&
		       memcmp(input->entry.key.data, other->entry.key.data, merge->skip) == 0;
	}
	return true;
}

static struct status merge_next(struct task *self, struct iterator *iterator)
{
	struct merge_iterator *merge = merge_of(iterator);
	DASSERT(merge->base.valid);
	struct runner *runner = &merge->runners[merge->losers[0]];
	struct status status = iterator_next(self, runner->input);
	if (!status_is_ok(status)) {
		merge->base.valid = false;
		return status;
	}
	if (merge->count > 1) {
		if (merge_prefix_holds(merge, runner->input)) {
			runner_update_head(merge, runner);
			merge_replay(merge);
		} else {
			merge_measure_prefix(merge, merge->skip);
			merge_build(merge);
		}
	}
	merge_publish(merge);
	return status_ok();
}

static void merge_destroy(struct iterator *iterator)
{
	struct merge_iterator *merge = merge_of(iterator);
	for (size_t i = 0; i < merge->count; i++)
		iterator_destroy(merge->runners[i].input);
	memory_free(merge->losers);
	memory_free(merge->runners);
	memory_free(merge);
}

static const struct iterator_ops merge_ops = {
	.seek = merge_seek,
	.next = merge_next,
	.destroy = merge_destroy,
};

static struct merge_iterator *merge_allocate(size_t count)
{
	struct merge_iterator *merge = memory_allocate_zeroed(1, sizeof(*merge));
	if (merge == NULL)
		return NULL;
	merge->losers = memory_allocate_zeroed(3 * count, sizeof(*merge->losers));
	merge->runners = memory_allocate_zeroed(count, sizeof(*merge->runners));
	if (merge->losers == NULL || merge->runners == NULL) {
		memory_free(merge->losers);
		memory_free(merge->runners);
		memory_free(merge);
		return NULL;
	}
	return merge;
}

struct status merge_iterator_create(struct iterator *const *inputs, size_t count, struct iterator **merged)
{
	ASSERT(count >= 1 && count < UINT32_MAX / 2);
	struct merge_iterator *merge = merge_allocate(count);
	if (merge == NULL) {
		for (size_t i = 0; i < count; i++)
			iterator_destroy(inputs[i]);
		return status_make(STATUS_NO_MEMORY);
	}
	merge->base.ops = &merge_ops;
	merge->count = count;
	for (size_t i = 0; i < count; i++)
		merge->runners[i].input = inputs[i];
	*merged = &merge->base;
	return status_ok();
}
