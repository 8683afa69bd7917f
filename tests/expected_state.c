#include "expected_state.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/random.h"

struct expected_state *expected_state_map(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0)
		return NULL;
	void *map = MAP_FAILED;
	if (ftruncate(fd, sizeof(struct expected_state)) == 0)
		map = mmap(NULL, sizeof(struct expected_state), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	(void)close(fd);
	return map != MAP_FAILED ? map : NULL;
}

void expected_state_unmap(struct expected_state *state)
{
	(void)munmap(state, sizeof(*state));
}

/* --- keys --- */

enum { KEY_STREAM = 1, CONTENT_STREAM = 2 };

static uint64_t draw(const struct expected_state *state, uint64_t stream, uint32_t unit, uint32_t slot,
		     uint32_t version)
{
	return random_at(random_at(state->seed ^ stream << 56, (uint64_t)unit << 8 | slot), version);
}

size_t expected_key(const struct expected_state *state, uint32_t unit, uint32_t slot, uint32_t salt,
		    char key[EXPECTED_KEY_BYTES_MAX])
{
	uint64_t bits = draw(state, KEY_STREAM, unit, slot, 0);
	int size = snprintf(key, EXPECTED_KEY_BYTES_MAX, "%04x-unit%05u.%u~%u", (unsigned)(bits & 0xffff),
			    unit, slot, salt);
	/* A few keys are long. */
	size_t padding = bits >> 16 & 63 ? bits >> 24 & 31 : 1500;
	memset(key + size, 'k', padding);
	return (size_t)size + padding;
}

/* --- values --- */

struct value_head {
	uint32_t mark;
	uint32_t unit;
	uint32_t slot;
	uint32_t version;
	uint32_t size;
};

static const uint32_t value_mark = 0xca5cade0;

static uint32_t draw_size(uint64_t bits)
{
	uint32_t kind = bits & 15;
	uint32_t free = (uint32_t)(bits >> 8);
	if (kind == 0)
		return 0;
	if (kind < 10)
		return 1 + free % 300;
	if (kind < 14)
		return 300 + free % (4096 - 300);
	return 4096 + free % (EXPECTED_VALUE_BYTES_MAX - 4096 + 1);
}

struct expected_content expected_content(const struct expected_state *state, uint32_t unit, uint32_t slot,
					 uint32_t version)
{
	uint64_t bits = draw(state, CONTENT_STREAM, unit, slot, version);
	if (version == 0 || bits >> 61 == 0)
		return (struct expected_content) { .present = false };
	return (struct expected_content) { .present = true, .size = draw_size(bits), .stream = bits };
}

void expected_fill(const struct expected_content *content, uint32_t unit, uint32_t slot, uint32_t version,
		   uint8_t value[EXPECTED_VALUE_BYTES_MAX])
{
	/* The first half does not compress, the second does. */
	uint32_t size = content->size;
	uint32_t random_size = size / 2;
	for (uint32_t at = 0; at < random_size; at += 8) {
		uint64_t word = random_at(content->stream, at);
		memcpy(value + at, &word, random_size - at < 8 ? random_size - at : 8);
	}
	memset(value + random_size, (int)(content->stream >> 56), size - random_size);
	struct value_head head = { value_mark, unit, slot, version, size };
	memcpy(value, &head, size < sizeof(head) ? size : sizeof(head));
}

void expected_describe(const void *value, size_t size, char *text, size_t capacity)
{
	struct value_head head;
	if (size >= sizeof(head)) {
		memcpy(&head, value, sizeof(head));
		if (head.mark == value_mark) {
			(void)snprintf(text, capacity,
				       "%zu bytes that say unit %u slot %u version %u, %u bytes", size,
				       head.unit, head.slot, head.version, head.size);
			return;
		}
	}
	(void)snprintf(text, capacity, "%zu bytes of no value ever written", size);
}

/* --- versions --- */

uint32_t expected_issue(struct expected_state *state, uint32_t unit)
{
	return atomic_fetch_add(&state->units[unit].issued, 1) + 1;
}

static uint64_t pack(uint32_t version, uint32_t base)
{
	return (uint64_t)version << 32 | base;
}

void expected_acknowledge(struct expected_state *state, uint32_t unit, uint32_t version)
{
	atomic_store(&state->units[unit].settled, pack(version, version));
	atomic_fetch_add(&state->acknowledged, 1);
}

uint32_t expected_candidates(const struct expected_state *state, uint32_t unit, uint32_t versions[2])
{
	uint32_t issued = atomic_load(&state->units[unit].issued);
	uint64_t settled = atomic_load(&state->units[unit].settled);
	versions[0] = (uint32_t)(settled >> 32);
	versions[1] = issued;
	return issued > (uint32_t)settled ? 2 : 1;
}

void expected_settle(struct expected_state *state, uint32_t unit, uint32_t version)
{
	atomic_store(&state->units[unit].settled, pack(version, atomic_load(&state->units[unit].issued)));
}
