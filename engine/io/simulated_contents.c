/*
 * simulated_contents.c: what files hold. Each unit has its durable cell and a chain of newer versions; a
 * sync moves the durable one up the chain. A zero cell is NULL, so sparse and zeroed files cost nothing.
 */
#include <string.h>

#include "io/simulated_internal.h"

/* --- cells --- */

static bool is_zero(const uint8_t *bytes, size_t size)
{
	return bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0;
}

struct sim_cell *sim_cell_make(const struct simulated_world *world, const void *bytes)
{
	size_t size = world->options.unit_bytes;
	if (is_zero(bytes, size))
		return NULL;
	struct sim_cell *cell = sim_take(sizeof(*cell) + size);
	cell->references = 1;
	memcpy(cell->bytes, bytes, size);
	return cell;
}

struct sim_cell *sim_cell_share(struct sim_cell *cell)
{
	if (cell != NULL)
		cell->references++;
	return cell;
}

void sim_cell_drop(struct sim_cell *cell)
{
	if (cell != NULL && --cell->references == 0)
		sim_drop(cell);
}

/* --- units --- */

struct sim_unit *sim_unit_find(const struct sim_inode *inode, uint64_t unit)
{
	uint64_t leaf = unit / LEAF_UNITS;
	if (leaf >= inode->leaf_count || inode->leaves[leaf] == NULL)
		return NULL;
	return &inode->leaves[leaf]->units[unit % LEAF_UNITS];
}

static struct sim_leaf *leaf_get(struct sim_inode *inode, uint64_t unit)
{
	size_t leaf = (size_t)(unit / LEAF_UNITS);
	if (leaf >= inode->leaf_count) {
		size_t count = leaf + 1 > 2 * inode->leaf_count ? leaf + 1 : 2 * inode->leaf_count;
		inode->leaves = sim_resize(inode->leaves, count * sizeof(struct sim_leaf *));
		memset(inode->leaves + inode->leaf_count, 0,
		       (count - inode->leaf_count) * sizeof(struct sim_leaf *));
		inode->leaf_count = count;
	}
	if (inode->leaves[leaf] == NULL)
		inode->leaves[leaf] = sim_take(sizeof(struct sim_leaf));
	return inode->leaves[leaf];
}

struct sim_unit *sim_unit_get(struct sim_inode *inode, uint64_t unit)
{
	return &leaf_get(inode, unit)->units[unit % LEAF_UNITS];
}

static struct sim_version *version_free(struct sim_version *version)
{
	struct sim_version *older = version->older;
	sim_cell_drop(version->cell);
	sim_drop(version);
	return older;
}

void sim_unit_drop_pending(struct sim_unit *unit)
{
	while (unit->newest != NULL)
		unit->newest = version_free(unit->newest);
}

/* A unit that is written again and again without a sync would keep every content it ever had. */
static void forget_one(struct sim_unit *unit)
{
	unsigned count = 0;
	for (struct sim_version *version = unit->newest; version != NULL; version = version->older)
		count++;
	if (count <= PENDING_VERSIONS_MAX)
		return;
	struct sim_version *before = unit->newest;
	for (unsigned i = 1; i < count / 2; i++)
		before = before->older;
	before->older = version_free(before->older);
}

void sim_unit_push(struct sim_inode *inode, uint64_t unit, struct sim_cell *cell, uint64_t stamp, bool clean)
{
	struct sim_leaf *leaf = leaf_get(inode, unit);
	struct sim_unit *place = &leaf->units[unit % LEAF_UNITS];
	if (place->newest != NULL && place->newest->stamp == stamp) {
		/* Another piece of the same write: a unit is never torn, so there is no state between. */
		sim_cell_drop(place->newest->cell);
		place->newest->cell = cell;
		return;
	}
	struct sim_version *version = sim_take(sizeof(*version));
	*version =
		(struct sim_version) { .older = place->newest, .cell = cell, .stamp = stamp, .clean = clean };
	place->newest = version;
	leaf->pending |= UINT64_C(1) << unit % LEAF_UNITS;
	forget_one(place);
}

void sim_copy_seen(const struct simulated_world *world, const struct sim_inode *inode, uint64_t offset,
		   void *buffer, size_t length)
{
	size_t unit_bytes = world->options.unit_bytes;
	for (size_t done = 0; done < length;) {
		uint64_t at = offset + done;
		size_t inside = (size_t)(at % unit_bytes);
		size_t part = unit_bytes - inside < length - done ? unit_bytes - inside : length - done;
		const struct sim_unit *unit = sim_unit_find(inode, at / unit_bytes);
		const struct sim_cell *cell = unit != NULL ? sim_unit_seen(unit) : NULL;
		if (cell != NULL)
			memcpy((char *)buffer + done, cell->bytes + inside, part);
		else
			memset((char *)buffer + done, 0, part);
		done += part;
	}
}

/* --- room --- */

static bool is_allocated(const struct sim_inode *inode, uint64_t unit)
{
	uint64_t leaf = unit / LEAF_UNITS;
	return leaf < inode->leaf_count && inode->leaves[leaf] != NULL &&
	       (inode->leaves[leaf]->allocated >> unit % LEAF_UNITS & 1) != 0;
}

uint64_t sim_room(const struct simulated_world *world, const struct sim_inode *inode, uint64_t offset,
		  uint64_t length)
{
	if (world->options.capacity_bytes == 0 || length == 0)
		return length;
	uint64_t unit_bytes = world->options.unit_bytes;
	uint64_t capacity = world->options.capacity_bytes / unit_bytes;
	uint64_t left = capacity > world->used_units ? capacity - world->used_units : 0;
	uint64_t end = offset + length;
	for (uint64_t unit = offset / unit_bytes; unit * unit_bytes < end; unit++) {
		if (is_allocated(inode, unit))
			continue;
		if (left == 0) {
			uint64_t page = unit * unit_bytes / IO_PAGE_BYTES * IO_PAGE_BYTES;
			return page > offset ? page - offset : 0;
		}
		left--;
	}
	return length;
}

void sim_reserve(struct simulated_world *world, struct sim_inode *inode, uint64_t offset, uint64_t length)
{
	uint64_t unit_bytes = world->options.unit_bytes;
	uint64_t end = offset + length;
	for (uint64_t unit = offset / unit_bytes; unit * unit_bytes < end; unit++) {
		if (is_allocated(inode, unit))
			continue;
		leaf_get(inode, unit)->allocated |= UINT64_C(1) << unit % LEAF_UNITS;
		inode->unit_count++;
		world->used_units++;
	}
}

/* --- writing --- */

/* One answer for a unit that comes in several pieces. */
static bool choose_unit(struct sim_sieve *sieve, uint64_t unit)
{
	if (sieve->chosen_unit != unit + 1)
		sieve->chosen_passes = sieve->crash->choose(sieve->crash->context, 2) != 0;
	sieve->chosen_unit = unit + 1;
	return sieve->chosen_passes;
}

/* `changes`: whether the unit is another one with these bytes. */
static bool sieve_passes(struct sim_sieve *sieve, uint64_t unit, bool changes)
{
	if (sieve == NULL)
		return true;
	bool passes = (random_at(sieve->seed, unit) & 0xffff) < sieve->keep;
	if (sieve->crash->choose != NULL)
		passes = !changes || choose_unit(sieve, unit);
	sieve->kept += passes;
	sieve->left_out += !passes;
	return passes;
}

static bool changes_unit(const struct simulated_world *world, const struct sim_inode *inode, uint64_t at,
			 const char *bytes, size_t length)
{
	const struct sim_unit *unit = sim_unit_find(inode, at / world->options.unit_bytes);
	const struct sim_cell *cell = unit != NULL ? sim_unit_seen(unit) : NULL;
	if (cell == NULL)
		return !is_zero((const uint8_t *)bytes, length);
	return memcmp(cell->bytes + at % world->options.unit_bytes, bytes, length) != 0;
}

static void write_piece(struct simulated_world *world, struct sim_inode *inode, uint64_t offset,
			const char *bytes, size_t length, uint64_t stamp, struct sim_sieve *sieve)
{
	size_t unit_bytes = world->options.unit_bytes;
	uint8_t whole[IO_PAGE_BYTES / 2];
	uint8_t *large = unit_bytes > sizeof(whole) ? sim_take(unit_bytes) : NULL;
	uint8_t *mixed = large != NULL ? large : whole;
	for (size_t done = 0; done < length;) {
		uint64_t at = offset + done;
		size_t inside = (size_t)(at % unit_bytes);
		size_t part = unit_bytes - inside < length - done ? unit_bytes - inside : length - done;
		bool changes = sieve != NULL && changes_unit(world, inode, at, bytes + done, part);
		if (sieve_passes(sieve, at / unit_bytes, changes)) {
			const void *content = bytes + done;
			if (part < unit_bytes) {
				sim_copy_seen(world, inode, at - inside, mixed, unit_bytes);
				memcpy(mixed + inside, bytes + done, part);
				content = mixed;
			}
			sim_unit_push(inode, at / unit_bytes, sim_cell_make(world, content), stamp, false);
		}
		done += part;
	}
	sim_drop(large);
}

void sim_write(struct simulated_world *world, struct sim_inode *inode, const struct transfer_call *call,
	       size_t length, uint64_t stamp, struct sim_sieve *sieve)
{
	sim_reserve(world, inode, call->offset, length);
	if (call->vector_count == 0) {
		write_piece(world, inode, call->offset, call->buffer, length, stamp, sieve);
		return;
	}
	size_t done = 0;
	for (unsigned i = 0; i < call->vector_count && done < length; i++) {
		const struct iovec *vector = &call->vectors[i];
		size_t part = vector->iov_len < length - done ? vector->iov_len : length - done;
		write_piece(world, inode, call->offset + done, vector->iov_base, part, stamp, sieve);
		done += part;
	}
}

void sim_grow(struct sim_inode *inode, uint64_t size, uint64_t stamp)
{
	if (size <= inode->size)
		return;
	inode->size = size;
	if (inode->size_count == inode->size_capacity) {
		inode->size_capacity = inode->size_capacity == 0 ? 4 : 2 * inode->size_capacity;
		inode->sizes = sim_resize(inode->sizes, inode->size_capacity * sizeof(*inode->sizes));
	}
	inode->sizes[inode->size_count++] = (struct sim_size) { .size = size, .stamp = stamp };
}

/* --- syncing --- */

/* The newest that the sync covers becomes durable, and what it wrote over is forgotten. */
static void settle_unit(struct sim_unit *unit, uint64_t stamp)
{
	struct sim_version **link = &unit->newest;
	while (*link != NULL && ((*link)->stamp > stamp || (*link)->clean))
		link = &(*link)->older;
	if (*link == NULL)
		return;
	struct sim_version *version = *link;
	*link = NULL;
	sim_cell_drop(unit->durable);
	unit->durable = sim_cell_share(version->cell);
	while (version != NULL)
		version = version_free(version);
}

static void give_up_unit(struct sim_unit *unit, uint64_t stamp, bool readers_too)
{
	struct sim_version **link = &unit->newest;
	while (*link != NULL) {
		struct sim_version *version = *link;
		if (version->stamp <= stamp && !version->clean && readers_too) {
			*link = version_free(version);
			continue;
		}
		version->clean |= version->stamp <= stamp;
		link = &version->older;
	}
}

static void sync_unit(struct simulated_world *world, struct sim_unit *unit, uint64_t stamp, unsigned failure)
{
	switch (failure) {
	case 0:
		settle_unit(unit, stamp);
		break;
	case SIMULATED_SYNC_PARTLY:
		if (sim_one_in(&world->random, 2))
			settle_unit(unit, stamp);
		else
			give_up_unit(unit, stamp, false);
		break;
	case SIMULATED_SYNC_CLEAN_OLD:
		give_up_unit(unit, stamp, true);
		break;
	case SIMULATED_SYNC_CLEAN_NEW:
	case SIMULATED_SYNC_LATE:
		give_up_unit(unit, stamp, false);
		break;
	default:
		ASSERT(failure == SIMULATED_SYNC_KEPT);
		break;
	}
}

/* Whether something stays pending that was only too late for this sync. */
static bool sync_leaf(struct simulated_world *world, struct sim_leaf *leaf, uint64_t stamp, unsigned failure)
{
	bool left = false;
	for (uint64_t bits = leaf->pending; bits != 0; bits &= bits - 1) {
		unsigned index = (unsigned)__builtin_ctzll(bits);
		struct sim_unit *unit = &leaf->units[index];
		sync_unit(world, unit, stamp, failure);
		if (unit->newest == NULL)
			leaf->pending &= ~(UINT64_C(1) << index);
		else
			left |= unit->newest->stamp > stamp;
	}
	return left;
}

static void sync_sizes(struct sim_inode *inode, uint64_t stamp, unsigned failure)
{
	size_t kept = 0;
	for (size_t i = 0; i < inode->size_count; i++) {
		struct sim_size size = inode->sizes[i];
		bool covered = size.stamp <= stamp && !size.clean;
		if (covered && failure == 0) {
			if (size.size > inode->durable_size)
				inode->durable_size = size.size;
			continue;
		}
		size.clean |= covered && failure != SIMULATED_SYNC_KEPT;
		inode->sizes[kept++] = size;
	}
	inode->size_count = kept;
}

void sim_sync_file(struct simulated_world *world, struct sim_inode *inode, uint64_t stamp, unsigned failure)
{
	bool left = false;
	for (size_t i = 0; i < inode->leaf_count; i++)
		if (inode->leaves[i] != NULL && inode->leaves[i]->pending != 0)
			left |= sync_leaf(world, inode->leaves[i], stamp, failure);
	sync_sizes(inode, stamp, failure);
	if (left && failure == 0)
		sim_note(world, SIMULATED_SYNC_PARTIAL);
}

void sim_sync_write(struct simulated_world *world, struct sim_inode *inode, uint64_t offset, uint64_t length,
		    uint64_t stamp, unsigned failure)
{
	uint64_t unit_bytes = world->options.unit_bytes;
	uint64_t end = offset + length;
	for (uint64_t index = offset / unit_bytes; index * unit_bytes < end; index++) {
		struct sim_leaf *leaf = leaf_get(inode, index);
		struct sim_unit *unit = &leaf->units[index % LEAF_UNITS];
		sync_unit(world, unit, stamp, failure);
		if (unit->newest == NULL)
			leaf->pending &= ~(UINT64_C(1) << index % LEAF_UNITS);
	}
	if (failure == 0 && end > inode->durable_size)
		inode->durable_size = end;
}
