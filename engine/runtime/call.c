/*
 * WAIT calls from one shard to another. A sender has as many credits with each receiver as the mailbox
 * has entries and spends one for each call until its reply is in; so neither ring can overflow, and the
 * reply has its slot before the call is sent.
 */
#include "runtime/internal.h"

#include "base/poison.h"

static const struct task_type call_type = {
	.name = "call",
	.stack_bytes = CALL_STACK_BYTES,
};

/*
 * The bit is set after the message is in the ring, so whoever takes the bit finds the message; and it is
 * set before the look at the announcement of sleep, so it is seen by one who announced unseen.
 */
static void notify(struct shard *from, struct shard *to)
{
	atomic_fetch_or(&to->active, (uint64_t)1 << from->index);
	if (shard_notify(to))
		from->counters.wakes_sent++;
}

/* A credit comes back: the task that has waited longest for one gets it. */
static void credit_return(struct peer *peer)
{
	ASSERT(peer->outstanding > 0);
	if (wait_list_is_empty(&peer->room))
		peer->outstanding--;
	else
		wait_list_wake_one(&peer->room);
}

static void credit_take(struct task *self, struct peer *peer)
{
	uint32_t entries = self->shard->runtime->mailbox_entries;
	if (peer->outstanding < entries)
		peer->outstanding++;
	else
		wait_list_wait(self, &peer->room); /* whoever wakes it hands its credit over */
}

static void call_own_shard(struct task *self, task_function *function, void *argument)
{
	bool serving = self->serving;
	self->serving = true;
	function(self, argument);
	self->serving = serving;
}

void shard_call(struct task *self, uint32_t target, task_function *function, void *argument)
{
	struct shard *shard = self->shard;
	struct runtime *runtime = shard->runtime;
	ASSERT(shard->current == self);
	ASSERT(target < runtime->shard_count);
	if (target == shard->index) {
		call_own_shard(self, function, argument);
		return;
	}
	ASSERT(!self->serving);
	credit_take(self, &shard->peers[target]);
	struct call call = { .caller = self };
	ring_push(&runtime_mailbox(runtime, shard->index, target)->requests, &call, function, argument);
	shard->counters.calls_sent++;
	notify(shard, runtime->shards[target]);
	NOTE_WAIT(self, WAIT_CALL);
	task_park(self);
	ASSERT(call.done);
}

void call_reply(struct shard *shard, uint32_t to, void *call)
{
	struct runtime *runtime = shard->runtime;
	ring_push(&runtime_mailbox(runtime, to, shard->index)->replies, call, NULL, NULL);
	notify(shard, runtime->shards[to]);
}

static void receive_replies(struct shard *shard, uint32_t from)
{
	struct ring *replies = &runtime_mailbox(shard->runtime, shard->index, from)->replies;
	const struct ring_slot *slot;
	while ((slot = ring_peek(replies)) != NULL) {
		struct call *call = slot->call;
		ring_pop(replies);
		call->done = true;
		task_unpark(call->caller);
		credit_return(&shard->peers[from]);
	}
}

/* False: no memory for a stack; the call stays where it is. */
static bool receive_requests(struct shard *shard, uint32_t from)
{
	struct ring *requests = &runtime_mailbox(shard->runtime, from, shard->index)->requests;
	const struct ring_slot *slot;
	while ((slot = ring_peek(requests)) != NULL) {
		struct task *task =
			task_create(shard, &call_type, slot->run, slot->argument, TASK_FOREGROUND);
		if (task == NULL)
			return false;
		task->origin = ORIGIN_CALL;
		task->origin_shard = (uint8_t)from;
		task->origin_data = slot->call;
		task->serving = true;
		ring_pop(requests);
		shard->counters.calls_received++;
	}
	return true;
}

bool calls_receive(struct shard *shard)
{
	if (atomic_load_explicit(&shard->active, memory_order_relaxed) == 0)
		return false;
	uint64_t active = atomic_exchange(&shard->active, 0);
	uint64_t kept = 0;
	while (active != 0) {
		uint32_t from = (uint32_t)__builtin_ctzll(active);
		active &= active - 1;
		receive_replies(shard, from);
		if (!receive_requests(shard, from))
			kept |= (uint64_t)1 << from;
	}
	if (kept != 0)
		atomic_fetch_or(&shard->active, kept);
	return kept != 0;
}
