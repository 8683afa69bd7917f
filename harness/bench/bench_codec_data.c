#include "harness/bench/bench_codec_data.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/random.h"
#include "harness/value.h"

enum {
	KEY_BYTES = 24,
	VALUE_BYTES = 1000,
	JSON_BYTES_MAX = 1024,
	NOTE_WORDS = 16,
	KEY_STEP = 1000, /* at most, from one key to the next */
};

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static const char *const first_names[] = { "Ada",     "Barbara", "Donald", "Edsger",	"Frances", "Grace",
					   "Haskell", "Ingrid",	 "John",   "Katherine", "Leslie",  "Margaret",
					   "Niklaus", "Radia",	 "Shafi",  "Tony" };
static const char *const last_names[] = { "Lovelace", "Liskov",	 "Knuth",      "Dijkstra",
					  "Allen",    "Hopper",	 "Curry",      "Daubechies",
					  "Backus",   "Johnson", "Lamport",    "Hamilton",
					  "Wirth",    "Perlman", "Goldwasser", "Hoare" };
static const char *const cities[] = { "Amsterdam", "Bergen",   "Cambridge", "Dublin", "Edinburgh", "Freiburg",
				      "Geneva",	   "Helsinki", "Ithaca",    "Jena",   "Kyoto",	   "Lisbon" };
static const char *const words[] = {
	"the",	     "order",	 "was",	  "sent",    "to",    "another", "address", "and",
	"came",	     "back",	 "after", "two",     "weeks", "because", "nobody",  "at",
	"home",	     "could",	 "take",  "it",	     "so",    "please",	 "call",    "before",
	"next",	     "delivery", "in",	  "morning", "or",    "leave",	 "parcel",  "with",
	"neighbour", "who",	 "has",	  "a",	     "key",   "for",	 "garden",  "gate",
};
static const char *const tags[] = { "new", "loyal", "wholesale", "prepaid", "abroad", "paper", "express" };

static const char *pick(struct random *random, const char *const *list, size_t count)
{
	return list[random_below(random, count)];
}

static size_t write_note(struct random *random, char *to, size_t size)
{
	size_t used = 0;
	uint64_t count = 4 + random_below(random, NOTE_WORDS - 4);
	for (uint64_t i = 0; i < count; i++)
		used += (size_t)snprintf(to + used, size - used, "%s%s", i > 0 ? " " : "",
					 pick(random, words, COUNT_OF(words)));
	return used;
}

/* One record; returns its bytes. */
static size_t write_json(struct random *random, uint64_t number, char to[static JSON_BYTES_MAX])
{
	char note[JSON_BYTES_MAX / 2];
	const char *first = pick(random, first_names, COUNT_OF(first_names));
	const char *last = pick(random, last_names, COUNT_OF(last_names));
	uint64_t when = random_next(random);
	(void)write_note(random, note, sizeof(note));
	int size = snprintf(
		to, JSON_BYTES_MAX,
		"{\"id\":%" PRIu64 ",\"token\":\"%016" PRIx64
		"\",\"name\":\"%s %s\",\"email\":\"%s.%s%u@example.org\","
		"\"city\":\"%s\",\"postcode\":\"%05u\",\"born\":\"19%02u-%02u-%02u\",\"balance\":%u.%02u,"
		"\"active\":%s,\"tags\":[\"%s\",\"%s\"],\"seen\":\"2026-%02u-%02uT%02u:%02u:%02uZ\",\"note\":"
		"\"%s\"}",
		number, random_next(random), first, last, first, last, (unsigned)random_below(random, 1000),
		pick(random, cities, COUNT_OF(cities)), (unsigned)random_below(random, 100000),
		(unsigned)random_below(random, 100), 1 + (unsigned)random_below(random, 12),
		1 + (unsigned)random_below(random, 28), (unsigned)random_below(random, 100000),
		(unsigned)random_below(random, 100), random_below(random, 4) > 0 ? "true" : "false",
		pick(random, tags, COUNT_OF(tags)), pick(random, tags, COUNT_OF(tags)),
		1 + (unsigned)(when % 12), 1 + (unsigned)(when / 12 % 28), (unsigned)(when / 336 % 24),
		(unsigned)(when / 8064 % 60), (unsigned)(when / 483840 % 60), note);
	return size < JSON_BYTES_MAX ? (size_t)size : JSON_BYTES_MAX - 1;
}

/* Appends as much as there is room for. */
static size_t put(uint8_t *bytes, size_t at, size_t size, const void *from, size_t from_size)
{
	size_t fits = from_size < size - at ? from_size : size - at;
	memcpy(bytes + at, from, fits);
	return at + fits;
}

struct status codec_data_fill(enum codec_content content, uint64_t seed, uint8_t *bytes, size_t size)
{
	struct random random = random_stream(seed);
	struct value_maker *maker;
	uint64_t number = 0;
	TRY(value_maker_create(seed, content == CODEC_HALF ? 0.5 : 0, &maker));
	for (size_t at = 0; at < size;) {
		char key[KEY_BYTES + 1], json[JSON_BYTES_MAX];
		uint8_t value[VALUE_BYTES];
		number += 1 + random_below(&random, KEY_STEP);
		(void)snprintf(key, sizeof(key), "user%020" PRIu64, number);
		at = put(bytes, at, size, key, KEY_BYTES);
		if (content == CODEC_JSON) {
			at = put(bytes, at, size, json, write_json(&random, number, json));
			continue;
		}
		value_make(maker, number, 0, value, sizeof(value));
		at = put(bytes, at, size, value, sizeof(value));
	}
	value_maker_free(maker);
	return status_ok();
}
