#include "sim/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/random.h"
#include "sim/failure.h"

enum { WHY_BYTES = 900 };

static void *grow(void *array, size_t *capacity, size_t count, size_t size)
{
	if (count < *capacity)
		return array;
	*capacity = *capacity == 0 ? 256 : 2 * *capacity;
	void *larger = realloc(array, *capacity * size);
	if (larger == NULL)
		abort();
	return larger;
}

/* --- keys --- */

static int compare_bytes(const void *a, size_t a_size, const void *b, size_t b_size)
{
	int order = memcmp(a, b, a_size < b_size ? a_size : b_size);
	return order != 0 ? order : (a_size > b_size) - (a_size < b_size);
}

/* Keys of all kinds: empty, binary, long, the prefix of another. */
static size_t draw_key(struct random *random, uint32_t index, uint8_t *key)
{
	size_t size;
	switch (index == 0 ? 3 : random_below(random, 8)) {
	case 0:
		size = 1 + random_below(random, 4);
		for (size_t i = 0; i < size; i++)
			key[i] = (uint8_t)random_next(random);
		return size;
	case 1:
		size = 200 + random_below(random, MODEL_KEY_BYTES_MAX - 200);
		memset(key, 'l', size);
		key[random_below(random, size)] = (uint8_t)random_next(random);
		return size;
	case 2:
		return (size_t)snprintf((char *)key, MODEL_KEY_BYTES_MAX, "user%u",
					(unsigned)random_below(random, 5000));
	case 3:
		return index == 0 ? 0 : (size_t)snprintf((char *)key, MODEL_KEY_BYTES_MAX, "u%u", index);
	default:
		return (size_t)snprintf((char *)key, MODEL_KEY_BYTES_MAX, "user%08u",
					(unsigned)random_below(random, 100000));
	}
}

/* Where the bytes are, or belong. */
static uint32_t key_place(const struct model *model, const void *bytes, size_t size, bool *found)
{
	uint32_t low = 0;
	uint32_t high = model->key_count;
	*found = false;
	while (low < high && !*found) {
		uint32_t middle = (low + high) / 2;
		const struct model_key *key = &model->keys[middle];
		int order = compare_bytes(key->bytes, key->size, bytes, size);
		*found = order == 0;
		if (order == 0)
			low = middle;
		else if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

void model_init(struct model *model, uint64_t seed, unsigned clients, uint32_t key_count,
		uint32_t value_bytes_max)
{
	*model = (struct model) {
		.seed = seed, .clients = clients, .value_bytes_max = value_bytes_max, .next_value = 1
	};
	struct random random = random_stream(random_mix(seed ^ 0x6b657973));
	while (model->key_count < key_count) {
		uint8_t bytes[MODEL_KEY_BYTES_MAX] = { 0 };
		bool found;
		size_t size = draw_key(&random, model->key_count, bytes);
		uint32_t at = key_place(model, bytes, size, &found);
		if (found)
			continue;
		memmove(&model->keys[at + 1], &model->keys[at],
			(model->key_count - at) * sizeof(model->keys[0]));
		model->keys[at] = (struct model_key) { .size = (uint32_t)size };
		memcpy(model->keys[at].bytes, bytes, size);
		model->key_count++;
	}
	for (uint32_t i = 0; i < key_count; i++)
		model->keys[i].client = (uint32_t)random_below(&random, clients);
}

void model_free(struct model *model)
{
	free(model->ops);
	free(model->writes);
	*model = (struct model) { 0 };
}

void model_assign_shards(struct model *model, const cascade *db)
{
	model->shards = cascade_shard_count(db);
	SIM_CHECK(model->shards <= MODEL_SHARDS_MAX);
	for (uint32_t i = 0; i < model->key_count; i++) {
		struct model_key *key = &model->keys[i];
		key->shard = cascade_shard_of(db, cascade_bytes(key->bytes, key->size));
	}
}

uint32_t model_find_key(const struct model *model, const void *bytes, size_t size)
{
	bool found;
	uint32_t at = key_place(model, bytes, size, &found);
	if (!found)
		sim_fail("a key of %zu bytes was found that nobody ever wrote", size);
	return at;
}

/* --- values --- */

uint32_t model_draw_value(struct model *model)
{
	SIM_CHECK(model->next_value < MODEL_UNKNOWN);
	return model->next_value++;
}

size_t model_fill_value(const struct model *model, uint32_t key, uint32_t value, uint8_t *to)
{
	uint64_t shape = random_at(model->seed, value);
	uint32_t most = shape % 61 == 0 ? model->value_bytes_max : shape % 7 == 0 ? 2000 : 300;
	size_t size = MODEL_VALUE_BYTES_MIN + (shape >> 20) % most;
	if (size > model->value_bytes_max)
		size = model->value_bytes_max;
	bytes_store32(to, value);
	bytes_store32(to + 4, key);
	for (size_t i = MODEL_VALUE_BYTES_MIN; i < size; i += 8) {
		/* Half of it compresses. */
		uint64_t word = i % 16 < 8 ? shape : random_mix(shape + i);
		size_t part = size - i < 8 ? size - i : 8;
		memcpy(to + i, &word, part);
	}
	return size;
}

uint32_t model_identify(const struct model *model, uint32_t key, const void *bytes, size_t size)
{
	static uint8_t expected[1 << 16];
	SIM_CHECK(model->value_bytes_max <= sizeof(expected));
	if (size < MODEL_VALUE_BYTES_MIN)
		sim_fail("key %u has a value of %zu bytes that nobody wrote", key, size);
	uint32_t value = bytes_load32(bytes);
	uint32_t owner = bytes_load32((const uint8_t *)bytes + 4);
	if (owner != key || value == MODEL_ABSENT || value >= model->next_value)
		sim_fail("key %u has a value that says it is value %u of key %u", key, value, owner);
	if (model_fill_value(model, key, value, expected) != size || memcmp(expected, bytes, size) != 0)
		sim_fail("key %u has value %u with other bytes than were written", key, value);
	return value;
}

/* --- writes --- */

uint32_t model_issue(struct model *model, uint32_t client, uint32_t shard, cascade_durability level)
{
	model->writes =
		grow(model->writes, &model->write_capacity, model->write_count, sizeof(*model->writes));
	model->writes[model->write_count] = (struct model_write) { .client = client,
								   .shard = shard,
								   .level = level,
								   .first_op = (uint32_t)model->op_count,
								   .issued = ++model->now };
	return (uint32_t)model->write_count++;
}

void model_add_op(struct model *model, uint32_t write, uint32_t key, uint32_t value)
{
	model->ops = grow(model->ops, &model->op_capacity, model->op_count, sizeof(*model->ops));
	struct model_key *of = &model->keys[key];
	SIM_CHECK(write + 1 == model->write_count);
	SIM_CHECK(of->client == model->writes[write].client && of->shard == model->writes[write].shard);
	model->ops[model->op_count++] =
		(struct model_op) { .key = key, .value = value, .previous = of->last_op, .write = write };
	of->last_op = (uint32_t)model->op_count;
	model->writes[write].op_count++;
}

void model_settle(struct model *model, uint32_t write, cascade_status status)
{
	struct model_write *it = &model->writes[write];
	SIM_CHECK(it->outcome == MODEL_PENDING);
	it->settled = ++model->now;
	if (status == CASCADE_OK)
		it->outcome = MODEL_DONE;
	else if (status == CASCADE_IO || status == CASCADE_READ_ONLY)
		it->outcome = MODEL_UNCERTAIN;
	else
		it->outcome = MODEL_REFUSED;
}

void model_flushed(struct model *model, uint64_t began)
{
	uint64_t now = ++model->now;
	for (size_t i = 0; i < model->write_count; i++) {
		struct model_write *write = &model->writes[i];
		if (write->flushed == 0 && write->settled != 0 && write->settled < began)
			write->flushed = now;
	}
}

void model_rebase(struct model *model, const uint32_t *found)
{
	for (uint32_t i = 0; i < model->key_count; i++) {
		model->keys[i].base = found[i];
		model->keys[i].last_op = 0;
	}
	model->op_count = 0;
	model->write_count = 0;
	model->lied = 0;
	model->dropped = false;
	model->broken = false;
}

struct model *model_fork(const struct model *model, const uint32_t *found)
{
	struct model *fork = malloc(sizeof(*fork));
	if (fork == NULL)
		abort();
	*fork = *model;
	fork->ops = NULL;
	fork->op_capacity = 0;
	fork->writes = NULL;
	fork->write_capacity = 0;
	model_rebase(fork, found);
	return fork;
}

/* --- a single read --- */

static bool is_visible(const struct model_write *write)
{
	return write->outcome == MODEL_PENDING || write->outcome == MODEL_DONE;
}

static void describe_value(const struct model *model, uint32_t key, uint32_t value, char *text, size_t size)
{
	if (value == MODEL_ABSENT) {
		(void)snprintf(text, size, "nothing");
		return;
	}
	for (uint32_t at = model->keys[key].last_op; at != 0; at = model->ops[at - 1].previous) {
		const struct model_op *op = &model->ops[at - 1];
		const struct model_write *write = &model->writes[op->write];
		if (op->value != value)
			continue;
		(void)snprintf(text, size, "value %u (write %u: level %d, outcome %d, moments %llu to %llu)",
			       value, op->write, (int)write->level, (int)write->outcome,
			       (unsigned long long)write->issued, (unsigned long long)write->settled);
		return;
	}
	(void)snprintf(text, size, "value %u (%s)", value,
		       model->keys[key].base == value ? "of the base" : "of another time");
}

static _Noreturn void fail_read(const struct model *model, uint32_t key, uint32_t found, uint64_t began,
				uint64_t ended)
{
	char text[160], newest[160];
	uint32_t last = model->keys[key].last_op;
	describe_value(model, key, found, text, sizeof(text));
	describe_value(model, key, last != 0 ? model->ops[last - 1].value : model->keys[key].base, newest,
		       sizeof(newest));
	sim_fail("key %u (client %u, shard %u) was read between moments %llu and %llu as %s; the newest is "
		 "%s",
		 key, model->keys[key].client, model->keys[key].shard, (unsigned long long)began,
		 (unsigned long long)ended, text, newest);
}

void model_check_read(const struct model *model, uint32_t key, uint32_t found, uint64_t began, uint64_t ended)
{
	if (found == MODEL_UNKNOWN)
		return;
	for (uint32_t at = model->keys[key].last_op; at != 0; at = model->ops[at - 1].previous) {
		const struct model_op *op = &model->ops[at - 1];
		const struct model_write *write = &model->writes[op->write];
		if (write->issued > ended || !is_visible(write))
			continue;
		if (op->value == found)
			return;
		if (write->outcome == MODEL_DONE && write->settled <= began)
			fail_read(model, key, found, began, ended);
	}
	if (model->keys[key].base != found)
		fail_read(model, key, found, began, ended);
}

/* --- a whole state --- */

enum { STREAMS_MAX = MODEL_CLIENTS_MAX * MODEL_SHARDS_MAX };

/* The commits of one client on one shard. */
struct stream {
	uint32_t *writes; /* that may be there, in order */
	bool *explains;	  /* [n]: the first n of them give what was found */
	uint32_t count;
	uint32_t required; /* so many at least */
	uint32_t taken;	   /* so many are taken to be there */
};

struct search {
	const struct model *model;
	const struct model_question *question;
	struct stream streams[STREAMS_MAX];
	uint32_t now[MODEL_KEYS_MAX];	       /* the state while writes are gone through */
	uint64_t last_taken[MODEL_SHARDS_MAX]; /* when the last write began that a shard took */
};

static bool is_promised(const struct model *model, const struct model_question *question,
			const struct model_write *write)
{
	if (write->outcome != MODEL_DONE || write->settled > question->promised_until)
		return false;
	bool flushed = write->flushed != 0 && write->flushed <= question->promised_until;
	bool lied = model->lied != 0 && write->settled >= model->lied;
	enum model_promise promise = question->promise;
	if (promise == MODEL_PROCESS && model->dropped)
		promise = MODEL_POWER;
	switch (promise) {
	case MODEL_ACKNOWLEDGED:
		return true;
	case MODEL_PROCESS:
		return flushed || write->level >= CASCADE_DURABILITY_PROCESS;
	case MODEL_POWER:
		return !lied && (flushed || write->level == CASCADE_DURABILITY_POWER);
	case MODEL_NOTHING:
		break;
	}
	return false;
}

/*
 * An error that leaves a commit in the log leaves a shard that takes no more. So where the shard has taken
 * another write since, the error was that of background work which kept the write waiting until it was
 * refused.
 */
static bool may_be_there(const struct search *search, const struct model_write *write)
{
	const struct model_question *question = search->question;
	if (write->issued > question->issued_until || write->outcome == MODEL_REFUSED)
		return false;
	if (write->outcome != MODEL_UNCERTAIN)
		return true;
	return question->promise != MODEL_ACKNOWLEDGED && write->settled > search->last_taken[write->shard];
}

static void *take(size_t size)
{
	void *memory = calloc(1, size);
	if (memory == NULL)
		abort();
	return memory;
}

static void collect_streams(struct search *search)
{
	const struct model *model = search->model;
	unsigned counts[STREAMS_MAX] = { 0 };
	for (size_t i = 0; i < model->write_count; i++) {
		const struct model_write *write = &model->writes[i];
		counts[write->client * MODEL_SHARDS_MAX + write->shard]++;
		if (write->outcome == MODEL_DONE)
			search->last_taken[write->shard] = write->issued;
	}
	for (unsigned s = 0; s < STREAMS_MAX; s++) {
		search->streams[s].writes = take((counts[s] + 1) * sizeof(uint32_t));
		search->streams[s].explains = take(counts[s] + 1);
	}
	for (size_t i = 0; i < model->write_count; i++) {
		const struct model_write *write = &model->writes[i];
		struct stream *stream = &search->streams[write->client * MODEL_SHARDS_MAX + write->shard];
		if (!may_be_there(search, write))
			continue;
		stream->writes[stream->count++] = (uint32_t)i;
		if (is_promised(model, search->question, write))
			stream->required = stream->count;
	}
}

static bool differs(const struct search *search, uint32_t key)
{
	uint32_t found = search->question->found[key];
	return found != MODEL_UNKNOWN && found != search->now[key];
}

/* Goes through the writes of one stream and marks after which of them the state is the one found. */
static void explain_stream(struct search *search, unsigned client, unsigned shard)
{
	const struct model *model = search->model;
	struct stream *stream = &search->streams[client * MODEL_SHARDS_MAX + shard];
	unsigned different = 0;
	for (uint32_t k = 0; k < model->key_count; k++)
		if (model->keys[k].client == client && model->keys[k].shard == shard)
			different += differs(search, k);
	stream->explains[0] = different == 0;
	for (uint32_t i = 0; i < stream->count; i++) {
		const struct model_write *write = &model->writes[stream->writes[i]];
		for (uint32_t o = write->first_op; o < write->first_op + write->op_count; o++) {
			const struct model_op *op = &model->ops[o];
			different -= differs(search, op->key);
			search->now[op->key] = op->value;
			different += differs(search, op->key);
		}
		stream->explains[i + 1] = different == 0;
	}
}

/* The state after so many writes of the stream, in `now`. */
static void replay_stream(struct search *search, unsigned client, unsigned shard, uint32_t count)
{
	const struct model *model = search->model;
	const struct stream *stream = &search->streams[client * MODEL_SHARDS_MAX + shard];
	for (uint32_t k = 0; k < model->key_count; k++)
		if (model->keys[k].client == client && model->keys[k].shard == shard)
			search->now[k] = model->keys[k].base;
	for (uint32_t i = 0; i < count; i++) {
		const struct model_write *write = &model->writes[stream->writes[i]];
		for (uint32_t o = write->first_op; o < write->first_op + write->op_count; o++)
			search->now[model->ops[o].key] = model->ops[o].value;
	}
}

/* Says which keys are not as after the writes that have to be there. */
static _Noreturn void fail_stream(struct search *search, unsigned client, unsigned shard, const char *what)
{
	const struct model *model = search->model;
	const struct stream *stream = &search->streams[client * MODEL_SHARDS_MAX + shard];
	char why[WHY_BYTES];
	int used = snprintf(why, sizeof(why), "client %u, shard %u: %s %u of %u writes (promise %d at %llu);",
			    client, shard, what, stream->taken, stream->count, (int)search->question->promise,
			    (unsigned long long)search->question->promised_until);
	replay_stream(search, client, shard, stream->taken);
	unsigned told = 0;
	for (uint32_t k = 0; k < model->key_count && told < 3; k++) {
		char found[160], expected[160];
		if (model->keys[k].client != client || model->keys[k].shard != shard || !differs(search, k))
			continue;
		describe_value(model, k, search->question->found[k], found, sizeof(found));
		describe_value(model, k, search->now[k], expected, sizeof(expected));
		used += snprintf(why + used, sizeof(why) - (size_t)used, " key %u: %s instead of %s;", k,
				 found, expected);
		told++;
	}
	sim_fail("%s", why);
}

/* The smallest number of writes that explains the stream and is at least `least`. */
static void take_at_least(struct search *search, unsigned s, uint32_t least, const char *what)
{
	struct stream *stream = &search->streams[s];
	uint32_t count = least;
	while (count <= stream->count && !stream->explains[count])
		count++;
	stream->taken = count;
	if (count > stream->count) {
		stream->taken = least;
		fail_stream(search, s / MODEL_SHARDS_MAX, s % MODEL_SHARDS_MAX, what);
	}
}

/* When the last write began that is there, on the shard of stream `s` or on any. */
static uint64_t last_begun(const struct search *search, unsigned s)
{
	uint64_t last = 0;
	for (unsigned other = 0; other < STREAMS_MAX; other++) {
		const struct stream *stream = &search->streams[other];
		if (!search->question->one_moment && other % MODEL_SHARDS_MAX != s % MODEL_SHARDS_MAX)
			continue;
		if (stream->taken == 0)
			continue;
		uint64_t issued = search->model->writes[stream->writes[stream->taken - 1]].issued;
		last = issued > last ? issued : last;
	}
	return last;
}

/* Takes what had ended before something began that is there. False: nothing was missing. */
static bool fill_holes(struct search *search)
{
	bool changed = false;
	for (unsigned s = 0; s < STREAMS_MAX; s++) {
		struct stream *stream = &search->streams[s];
		uint64_t last = last_begun(search, s);
		uint32_t least = stream->taken;
		for (uint32_t i = stream->taken; i < stream->count; i++) {
			const struct model_write *write = &search->model->writes[stream->writes[i]];
			if (write->outcome == MODEL_DONE && write->settled < last)
				least = i + 1;
		}
		if (least == stream->taken)
			continue;
		take_at_least(search, s, least, "a hole: others that began later are there, but not");
		changed = true;
	}
	return changed;
}

void model_check_state(const struct model *model, const struct model_question *question)
{
	struct search *search = take(sizeof(*search));
	search->model = model;
	search->question = question;
	for (uint32_t k = 0; k < model->key_count; k++)
		search->now[k] = model->keys[k].base;
	collect_streams(search);
	for (unsigned s = 0; s < STREAMS_MAX; s++)
		explain_stream(search, s / MODEL_SHARDS_MAX, s % MODEL_SHARDS_MAX);
	for (unsigned s = 0; s < STREAMS_MAX; s++)
		take_at_least(search, s, search->streams[s].required, "not explained by");
	while (fill_holes(search))
		;
	for (unsigned s = 0; s < STREAMS_MAX; s++) {
		free(search->streams[s].writes);
		free(search->streams[s].explains);
	}
	free(search);
}
