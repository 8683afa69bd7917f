/*
 * Calls from one shard to another. A sender has as many credits with each receiver as the mailbox has
 * entries and spends one for each call until its reply is in; so neither ring can overflow, and the reply
 * has its slot before the call is sent.
 *
 * A message carries the sender's token, and the reply brings it back: a pointer whose lowest two bits say
 * of what kind. A cancel is a message with the call's token and no function. It is answered by itself, and
 * the call ends when its reply and that answer are in, in whatever order: so the receiver finds the call in
 * place.
 */
#include "runtime/internal.h"

#include "base/poison.h"

static const struct task_type call_type = {
	.name = "call",
	.stack_bytes = 65536,
};

/* --- tokens --- */

enum token_kind {
	TOKEN_CALL,	   /* a struct call */
	TOKEN_CANCELABLE,  /* the same, and its `task` is set while there is one */
	TOKEN_POST,	   /* a struct join, or NULL */
	TOKEN_CANCEL_SEEN, /* a struct call: the answer to its cancel */
};

/* Beside its kind, a call's token says whether the message names a type or a bare function. */
enum { TOKEN_KIND_MASK = 3, TOKEN_UNTYPED = 4, TOKEN_MASK = 7 };

_Static_assert(_Alignof(struct call) > TOKEN_MASK, "the lowest bits are free");
_Static_assert(_Alignof(struct join) > TOKEN_MASK, "the lowest bits are free");

static void *token_of(void *pointer, unsigned bits)
{
	return (void *)((uintptr_t)pointer | bits);
}

static enum token_kind token_kind(const void *token)
{
	return (enum token_kind)((uintptr_t)token & TOKEN_KIND_MASK);
}

static void *token_pointer(void *token)
{
	return (void *)((uintptr_t)token & ~(uintptr_t)TOKEN_MASK);
}

bool call_runs_in_any_case(const void *token)
{
	return token_kind(token) == TOKEN_CALL;
}

/* --- sending --- */

/*
 * Others are told of messages in batches, for telling costs more than leaving one: after some runs of tasks
 * or some microseconds, and at the end of each turn (shard_tell_others).
 *
 * A shard looks into the rings of those whose bit is set at it, and leaves the bit set as long as something
 * comes: so between two shards that are busy neither touches a word of the other's but the rings. A bit is
 * set after the messages are in the ring, and one that is found set was not taken away yet: whoever takes it
 * away looks into the ring once more afterwards. And it is set, or found set, before the look at the
 * announcement of sleep, so it is seen by one who announced unseen.
 */
void calls_tell(struct shard *shard)
{
	uint64_t bit = (uint64_t)1 << shard->index;
	uint64_t untold = shard->untold;
	shard->untold = 0;
	full_fence();
	while (untold != 0) {
		struct shard *to = shard->runtime->shards[__builtin_ctzll(untold)];
		untold &= untold - 1;
		if (!full_fence_works() || (atomic_load(&to->active) & bit) == 0)
			atomic_fetch_or(&to->active, bit);
		if (shard_notify(to))
			shard->counters.wakes_sent++;
	}
}

/* `type` NULL: a cancel. */
static inline void send_type(struct shard *shard, uint32_t target, void *token, const struct task_type *type,
			     void *argument)
{
	struct ring *requests = &runtime_mailbox(shard->runtime, shard->index, target)->requests;
	struct ring_slot *slot = ring_next(requests);
	slot->token = token;
	slot->type = type;
	slot->argument = argument;
	ring_push(requests, slot);
	shard->untold |= (uint64_t)1 << target;
}

static inline void send_function(struct shard *shard, uint32_t target, void *token, task_function *run,
				 void *argument)
{
	struct ring *requests = &runtime_mailbox(shard->runtime, shard->index, target)->requests;
	struct ring_slot *slot = ring_next(requests);
	slot->token = token_of(token, TOKEN_UNTYPED);
	slot->run = run;
	slot->argument = argument;
	ring_push(requests, slot);
	shard->untold |= (uint64_t)1 << target;
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

/* Whether there was one. If not, whoever wakes a task in peer->room hands its credit over. */
static bool credit_take_at_once(struct shard *shard, struct peer *peer)
{
	if (peer->outstanding < shard->runtime->mailbox_entries) {
		peer->outstanding++;
		return true;
	}
	shard->counters.mailbox_waits++;
	return false;
}

MAY_SUSPEND static void credit_take(struct task *self, struct peer *peer)
{
	if (!credit_take_at_once(self->shard, peer))
		wait_list_wait(self, &peer->room);
}

MAY_SUSPEND static struct status credit_take_cancelable(struct task *self, struct peer *peer)
{
	if (credit_take_at_once(self->shard, peer))
		return status_ok();
	return wait_list_wait_cancelable(self, &peer->room);
}

MAY_SUSPEND static struct status call_own_shard(struct task *self, task_function *function, void *argument)
{
	bool serving = self->serving;
	struct status before = self->status;
	self->serving = true;
	self->status = status_ok();
	function(self, argument);
	struct status status = self->status;
	self->serving = serving;
	self->status = before;
	return status;
}

static void check_caller(const struct task *self, uint32_t target)
{
	ASSERT(self->shard->current == self);
	ASSERT(target < self->shard->runtime->shard_count);
}

MAY_SUSPEND static inline void call_begin(struct task *self, uint32_t target)
{
	ASSERT(!self->serving);
	NOTE_WAIT(self, WAIT_CALL);
	credit_take(self, &self->shard->peers[target]);
	self->shard->counters.calls_sent++;
}

MAY_SUSPEND static inline struct status call_wait(struct task *self, struct call *call)
{
	self->wait = WAIT_CALL;
	task_park(self);
	ASSERT(call->done);
	return call->status;
}

struct status shard_call(struct task *self, uint32_t target, task_function *function, void *argument)
{
	check_caller(self, target);
	if (target == self->shard->index)
		return call_own_shard(self, function, argument);
	call_begin(self, target);
	struct call call = { .caller = self, .target = target };
	send_function(self->shard, target, token_of(&call, TOKEN_CALL), function, argument);
	return call_wait(self, &call);
}

struct status shard_call_type(struct task *self, uint32_t target, const struct task_type *type,
			      void *argument)
{
	check_caller(self, target);
	if (target == self->shard->index)
		return call_own_shard(self, type->run, argument);
	call_begin(self, target);
	struct call call = { .caller = self, .target = target };
	send_type(self->shard, target, token_of(&call, TOKEN_CALL), type, argument);
	return call_wait(self, &call);
}

struct status shard_call_cancelable(struct task *self, uint32_t target, const struct task_type *type,
				    void *argument)
{
	struct shard *shard = self->shard;
	check_caller(self, target);
	if (task_is_canceled(self))
		return status_make(STATUS_CANCELED);
	if (target == shard->index)
		return call_own_shard(self, type->run, argument);
	ASSERT(!self->serving);
	TRY(credit_take_cancelable(self, &shard->peers[target]));
	struct call call = { .caller = self, .target = target };
	send_type(shard, target, token_of(&call, TOKEN_CANCELABLE), type, argument);
	shard->counters.calls_sent++;
	self->call = &call;
	NOTE_WAIT(self, WAIT_CALL);
	self->cancelable = self->shields == 0;
	task_park(self);
	self->cancelable = false;
	ASSERT(call.done);
	ASSERT(!call.canceling);
	return call.status;
}

void call_cancel(struct shard *shard, struct call *call)
{
	if (call->done)
		return;
	call->canceling = true;
	send_type(shard, call->target, token_of(call, TOKEN_CANCELABLE), NULL, NULL);
}

void shard_post(struct task *self, uint32_t target, const struct task_type *type, void *argument,
		struct join *join)
{
	struct shard *shard = self->shard;
	check_caller(self, target);
	ASSERT(!self->serving);
	credit_take(self, &shard->peers[target]);
	if (join != NULL)
		join->pending++;
	shard->posts++;
	shard->counters.posts_sent++;
	send_type(shard, target, token_of(join, TOKEN_POST), type, argument);
}

/* --- receiving replies --- */

static void call_note(struct call *call, struct peer *peer)
{
	if (!call->done || call->canceling)
		return;
	task_unpark(call->caller);
	credit_return(peer);
}

static void post_ended(struct shard *shard, struct join *join, struct status status)
{
	ASSERT(shard->posts > 0);
	shard->posts--;
	if (!status_is_ok(status))
		shard->counters.post_errors++;
	if (join != NULL)
		join_end(join, status);
}

static void receive_reply(struct shard *shard, struct peer *peer, void *token, struct status status)
{
	struct call *call = token_pointer(token);
	switch (token_kind(token)) {
	case TOKEN_CALL:
	case TOKEN_CANCELABLE:
		call->status = status;
		call->done = true;
		call_note(call, peer);
		break;
	case TOKEN_CANCEL_SEEN:
		call->canceling = false;
		call_note(call, peer);
		break;
	case TOKEN_POST:
		post_ended(shard, token_pointer(token), status);
		credit_return(peer);
		break;
	}
}

/* Whether there were any. */
static bool receive_replies(struct shard *shard, uint32_t from)
{
	struct ring *replies = &runtime_mailbox(shard->runtime, shard->index, from)->replies;
	const struct ring_slot *slot = ring_peek(replies);
	if (slot == NULL)
		return false;
	for (; slot != NULL; slot = ring_peek(replies)) {
		void *token = slot->token;
		struct status status = slot->status;
		ring_pop(replies);
		receive_reply(shard, &shard->peers[from], token, status);
	}
	return true;
}

/* --- receiving calls --- */

static void reply(struct shard *shard, uint32_t to, void *token, struct status status)
{
	struct ring *replies = &runtime_mailbox(shard->runtime, to, shard->index)->replies;
	struct ring_slot *slot = ring_next(replies);
	slot->token = token;
	slot->status = status;
	ring_push(replies, slot);
	shard->untold |= (uint64_t)1 << to;
}

void call_reply(struct shard *shard, uint32_t to, void *token, struct status status)
{
	if (token_kind(token) == TOKEN_CANCELABLE)
		((struct call *)token_pointer(token))->task = NULL;
	reply(shard, to, token, status);
}

/* It came behind its call, so the function has begun, or will, or has ended. */
static void receive_cancel(struct shard *shard, uint32_t from, void *token)
{
	struct call *call = token_pointer(token);
	if (call->task != NULL)
		task_cancel(call->task);
	reply(shard, from, token_of(call, TOKEN_CANCEL_SEEN), status_ok());
}

/* False: no memory for a stack. */
static bool receive_call(struct shard *shard, uint32_t from, const struct ring_slot *slot)
{
	bool is_typed = ((uintptr_t)slot->token & TOKEN_UNTYPED) == 0;
	const struct task_type *type = is_typed ? slot->type : &call_type;
	task_function *run = is_typed ? type->run : slot->run;
	struct task *task = task_create(shard, type, run, slot->argument, TASK_FOREGROUND);
	if (task == NULL)
		return false;
	task->origin = ORIGIN_CALL;
	task->origin_shard = (uint8_t)from;
	task->told = slot->token;
	task->serving = true;
	if (token_kind(slot->token) == TOKEN_CANCELABLE)
		((struct call *)token_pointer(slot->token))->task = task;
	shard->counters.calls_received++;
	return true;
}

/* Whether there were any. *kept: there was no memory for a stack, and a call stays where it is. */
static bool receive_requests(struct shard *shard, uint32_t from, bool *kept)
{
	struct ring *requests = &runtime_mailbox(shard->runtime, from, shard->index)->requests;
	const struct ring_slot *slot = ring_peek(requests);
	if (slot == NULL)
		return false;
	for (; slot != NULL; slot = ring_peek(requests)) {
		if (slot->type == NULL) {
			receive_cancel(shard, from, slot->token);
		} else if (!receive_call(shard, from, slot)) {
			*kept = true;
			break;
		}
		ring_pop(requests);
	}
	return true;
}

static bool receive_from(struct shard *shard, uint32_t from, bool *kept)
{
	bool replies = receive_replies(shard, from);
	bool requests = receive_requests(shard, from, kept);
	return replies || requests;
}

bool calls_receive(struct shard *shard)
{
	uint64_t active = atomic_load(&shard->active);
	bool kept = false;
	while (active != 0) {
		uint32_t from = (uint32_t)__builtin_ctzll(active);
		struct peer *peer = &shard->peers[from];
		active &= active - 1;
		bool some = receive_from(shard, from, &kept);
		peer->quiet_looks = some ? 0 : peer->quiet_looks + 1;
		if (peer->quiet_looks >= shard->runtime->quiet_looks) {
			peer->quiet_looks = 0;
			atomic_fetch_and(&shard->active, ~((uint64_t)1 << from));
			full_fence();
			some |= receive_from(shard, from, &kept);
			/* What cannot be taken now is looked for again. */
			if (kept)
				atomic_fetch_or(&shard->active, (uint64_t)1 << from);
		}
		shard->received |= some;
	}
	return kept;
}
