/*
 * simulated_crash.c: another world out of what a crash could leave.
 *
 * It is made in three steps: a copy of both planes and all that is pending, which shares the cells; then what
 * was under way, in part, as if it had completed; and, for a loss of power, a choice for each unit, size and
 * change between what is durable and what is pending, which is durable from then on.
 */
#include <stdlib.h>
#include <string.h>

#include "io/simulated_internal.h"

enum { ALWAYS = 1 << 16 }; /* likelihoods are in 1 / 2^16 */

struct draw {
	struct simulated_world *world; /* the new one */
	const struct simulated_crash *crash;
	struct random random;
	enum simulated_keep keep;
	uint32_t contents; /* likelihood that a pending content comes through */
	uint32_t names;	   /* the same of a change of names */
};

static bool happens(struct draw *draw, uint32_t likelihood)
{
	return random_below(&draw->random, ALWAYS) < likelihood;
}

/* One of so many possibilities; what leaves no choice is not asked. */
static uint32_t choose(const struct draw *draw, uint32_t count)
{
	if (count < 2)
		return 0;
	uint32_t chosen = draw->crash->choose(draw->crash->context, count);
	ASSERT(chosen < count);
	return chosen;
}

static bool is_chosen(const struct draw *draw)
{
	return draw->crash->choose != NULL;
}

/* Whether something that is under way has happened. A loss of power chooses afterwards among all that is
 * pending: for that one it has. */
static bool has_come_about(struct draw *draw, uint32_t likelihood, bool matters)
{
	if (!is_chosen(draw))
		return happens(draw, likelihood);
	return !matters || draw->crash->kind == SIMULATED_POWER || choose(draw, 2) != 0;
}

/* Extremes matter as much as all that lies between, and half each way is the likeliest to tear things. */
static uint32_t draw_likelihood(struct random *random)
{
	switch (random_below(random, 8)) {
	case 0:
		return 0;
	case 1:
		return ALWAYS;
	case 2:
	case 3:
		return ALWAYS / 2;
	default:
		return (uint32_t)random_below(random, ALWAYS + 1);
	}
}

static struct draw begin_draw(struct simulated_world *world, const struct simulated_crash *crash)
{
	struct draw draw = {
		.world = world, .crash = crash, .random = random_stream(crash->seed), .keep = crash->keep
	};
	if (crash->choose != NULL) {
		ASSERT(!crash->ordered && !crash->garbage);
		draw.keep = SIMULATED_KEEP_SOME;
		draw.contents = draw.names = ALWAYS;
		return draw;
	}
	if (draw.keep == SIMULATED_KEEP_DRAWN) {
		uint64_t drawn = random_below(&draw.random, 8);
		draw.keep = drawn == 0	 ? SIMULATED_KEEP_NONE
			    : drawn == 1 ? SIMULATED_KEEP_ALL
					 : SIMULATED_KEEP_SOME;
	}
	if (draw.keep == SIMULATED_KEEP_ALL)
		draw.contents = draw.names = ALWAYS;
	if (draw.keep == SIMULATED_KEEP_SOME) {
		draw.contents = draw_likelihood(&draw.random);
		draw.names = draw_likelihood(&draw.random);
	}
	return draw;
}

/* --- the copy --- */

static struct sim_version *copy_versions(const struct sim_version *version)
{
	struct sim_version *newest = NULL;
	struct sim_version **link = &newest;
	for (; version != NULL; version = version->older) {
		struct sim_version *copy = sim_take(sizeof(*copy));
		*copy = *version;
		copy->older = NULL;
		(void)sim_cell_share(copy->cell);
		*link = copy;
		link = &copy->older;
	}
	return newest;
}

static struct sim_leaf *copy_leaf(const struct sim_leaf *leaf)
{
	struct sim_leaf *copy = sim_take(sizeof(*copy));
	*copy = *leaf;
	for (unsigned i = 0; i < LEAF_UNITS; i++) {
		(void)sim_cell_share(copy->units[i].durable);
		if (copy->units[i].newest != NULL)
			copy->units[i].newest = copy_versions(copy->units[i].newest);
	}
	return copy;
}

static void copy_inode(struct simulated_world *world, struct sim_inode *inode)
{
	struct sim_inode *copy = sim_inode_create(world, inode->is_directory);
	copy->number = inode->number;
	copy->size = inode->size;
	copy->durable_size = inode->durable_size;
	copy->late_error = inode->late_error;
	if (inode->size_count > 0) {
		copy->size_count = copy->size_capacity = inode->size_count;
		copy->sizes = sim_take(inode->size_count * sizeof(*inode->sizes));
		memcpy(copy->sizes, inode->sizes, inode->size_count * sizeof(*inode->sizes));
	}
	if (inode->leaf_count > 0) {
		copy->leaf_count = inode->leaf_count;
		copy->leaves = sim_take(inode->leaf_count * sizeof(struct sim_leaf *));
		for (size_t i = 0; i < inode->leaf_count; i++)
			if (inode->leaves[i] != NULL)
				copy->leaves[i] = copy_leaf(inode->leaves[i]);
	}
	inode->copy = copy;
}

static void copy_names(struct simulated_world *world, const struct sim_names *from, struct sim_names *to,
		       bool seen)
{
	for (size_t i = 0; i < from->count; i++)
		sim_names_set(world, to, from->entries[i].name, from->entries[i].inode->copy, seen);
}

static void copy_changes(struct simulated_world *world, const struct sim_change *change)
{
	for (; change != NULL; change = change->next) {
		struct sim_change *copy = sim_take(sizeof(*copy));
		*copy = *change;
		copy->next = NULL;
		copy->directory = change->directory->copy;
		copy->inode = change->inode->copy;
		sim_inode_hold(copy->directory);
		sim_inode_hold(copy->inode);
		copy->name = sim_copy_text(change->name, strlen(change->name));
		if (change->directory_to != NULL) {
			copy->directory_to = change->directory_to->copy;
			sim_inode_hold(copy->directory_to);
			copy->name_to = sim_copy_text(change->name_to, strlen(change->name_to));
		}
		*world->changes_end = copy;
		world->changes_end = &copy->next;
	}
}

/* The inodes of the new world that nothing refers to: handles and requests kept them alive in the old one. */
static void drop_unreachable(struct simulated_world *world)
{
	for (struct sim_inode *inode = world->inodes; inode != NULL;) {
		struct sim_inode *next = inode->next;
		if (inode->references == 0) {
			sim_inode_hold(inode);
			sim_inode_drop(world, inode);
			next = world->inodes; /* a directory may take others along */
		}
		inode = next;
	}
}

/* What readers can reach takes room; each file counts once, whatever number of names it has. */
static void count_room(struct simulated_world *world)
{
	world->used_units = 0;
	for (struct sim_inode *inode = world->inodes; inode != NULL; inode = inode->next) {
		inode->unit_count = 0;
		if (inode->holders == 0)
			continue;
		for (size_t i = 0; i < inode->leaf_count; i++)
			if (inode->leaves[i] != NULL)
				inode->unit_count +=
					(unsigned)__builtin_popcountll(inode->leaves[i]->allocated);
		world->used_units += inode->unit_count;
	}
}

static struct simulated_world *copy_world(const struct simulated_world *world, uint64_t seed)
{
	struct simulated_options options = world->options;
	options.seed = random_mix(seed + 1);
	options.start_ns = simulated_now_ns(world);
	struct simulated_world *made = sim_world_create(&options);
	made->stamp = world->stamp;
	made->inode_numbers = world->inode_numbers;
	/* The oldest first, so that both lists have one order. */
	struct sim_inode *oldest = world->inodes;
	while (oldest->next != NULL)
		oldest = oldest->next;
	for (struct sim_inode *inode = oldest;; inode = (struct sim_inode *)(void *)inode->link) {
		copy_inode(made, inode);
		if (inode == world->inodes)
			break;
	}
	for (const struct sim_inode *inode = world->inodes; inode != NULL; inode = inode->next) {
		copy_names(made, &inode->seen, &inode->copy->seen, true);
		copy_names(made, &inode->durable, &inode->copy->durable, false);
	}
	made->root = world->root->copy;
	sim_inode_use(made->root);
	copy_changes(made, world->changes);
	made->inode_numbers = world->inode_numbers;
	return made;
}

/* --- what was under way --- */

static void keep_write(struct draw *draw, const struct sim_call *call)
{
	struct sim_inode *inode = call->inode->copy;
	struct simulated_world *world = draw->world;
	struct sim_sieve sieve = { .seed = random_next(&draw->random),
				   .keep = draw->contents,
				   .crash = draw->crash };
	bool grows =
		has_come_about(draw, draw->contents, call->call.offset + call->call.length > inode->size);
	if (call->call.length == 0 || draw->contents == 0)
		return;
	/* A loss of power chooses among all contents below; a killed process leaves the ones chosen here. */
	bool process = draw->crash->kind == SIMULATED_PROCESS;
	uint64_t stamp = ++world->stamp;
	size_t length = (size_t)sim_room(world, inode, call->call.offset, call->call.length);
	sim_write(world, inode, &call->call, length, stamp, process ? &sieve : NULL);
	if (length > 0 && (grows || !process))
		sim_grow(inode, call->call.offset + length, stamp);
	if (process && sieve.kept > 0)
		sim_note(world, SIMULATED_WRITE_UNDER_WAY_KEPT);
	if (process && sieve.left_out > 0)
		sim_note(world, SIMULATED_WRITE_UNDER_WAY_LOST);
	if (process && sieve.kept > 0 && sieve.left_out > 0)
		sim_note(world, SIMULATED_WRITE_TORN);
}

static void keep_allocation(struct draw *draw, const struct sim_call *call)
{
	struct sim_inode *inode = call->inode->copy;
	const struct transfer_call *allocate = &call->call;
	if (sim_room(draw->world, inode, allocate->offset, allocate->length) < allocate->length)
		return;
	sim_reserve(draw->world, inode, allocate->offset, allocate->length);
	sim_grow(inode, allocate->offset + allocate->length, ++draw->world->stamp);
}

static void keep_names_call(struct simulated_world *world, const struct io_request *request)
{
	struct sim_inode *created;
	/* Refused ones are refused here too, and leave nothing. */
	switch (request->operation) {
	case IO_OPEN:
		if ((request->flags & IO_OPEN_CREATE) != 0)
			(void)sim_create_file(world, request->path, &created);
		break;
	case IO_RENAME:
		(void)sim_rename(world, request->path, request->path_to);
		break;
	case IO_UNLINK:
		(void)sim_unlink(world, request->path);
		break;
	case IO_MAKE_DIRECTORY:
		(void)sim_make_directory(world, request->path);
		break;
	default:
		break;
	}
}

static bool changes_names(const struct io_request *request)
{
	switch (request->operation) {
	case IO_OPEN:
		return (request->flags & IO_OPEN_CREATE) != 0;
	case IO_RENAME:
	case IO_UNLINK:
	case IO_MAKE_DIRECTORY:
		return true;
	default:
		return false;
	}
}

static void keep_call(struct draw *draw, const struct sim_call *call)
{
	switch (call->request->operation) {
	case IO_WRITE:
		keep_write(draw, call);
		break;
	case IO_ALLOCATE:
		if (has_come_about(draw, draw->contents, true))
			keep_allocation(draw, call);
		break;
	default:
		/* Reads leave nothing. A sync that has not reported may have reached any of what it was to
		 * cover, which is among what is pending anyway. */
		if (has_come_about(draw, draw->names, changes_names(call->request)))
			keep_names_call(draw->world, call->request);
		break;
	}
}

static int compare_entries(const void *a, const void *b)
{
	uint64_t first = (*(const struct sim_call *const *)a)->number;
	uint64_t second = (*(const struct sim_call *const *)b)->number;
	return first < second ? -1 : first > second;
}

/* In an order by chance: nothing says which of them the storage takes up first. */
static void keep_under_way(struct draw *draw, const struct simulated_world *world)
{
	const struct sim_call **calls = sim_take((world->heap_count + 1) * sizeof(*calls));
	size_t count = 0;
	for (size_t i = 0; i < world->heap_count; i++) {
		if (world->heap[i]->request == NULL)
			continue;
		size_t other = (size_t)random_below(&draw->random, count + 1);
		calls[count] = calls[other];
		calls[other] = world->heap[i];
		count++;
	}
	if (is_chosen(draw))
		qsort(calls, count, sizeof(*calls), compare_entries);
	for (size_t i = 0; i < count; i++)
		keep_call(draw, calls[i]);
	sim_drop(calls);
}

/* --- loss of power: contents --- */

/* One write's fate in one file. */
struct fate {
	uint64_t stamp;
	uint32_t kept;
	uint32_t lost;
};

struct fates {
	struct fate *rows; /* in order of stamp */
	size_t count;
	size_t capacity;
	uint64_t cut; /* ordered: writes before it came through, those after it did not, it may be torn */
};

static int compare_fates(const void *a, const void *b)
{
	uint64_t first = ((const struct fate *)a)->stamp;
	uint64_t second = ((const struct fate *)b)->stamp;
	return first < second ? -1 : first > second;
}

static void add_fate(struct fates *fates, uint64_t stamp)
{
	if (fates->count > 0 && fates->rows[fates->count - 1].stamp == stamp)
		return;
	if (fates->count == fates->capacity) {
		fates->capacity = fates->capacity == 0 ? 16 : 2 * fates->capacity;
		fates->rows = sim_resize(fates->rows, fates->capacity * sizeof(*fates->rows));
	}
	fates->rows[fates->count++] = (struct fate) { .stamp = stamp };
}

static void collect_fates(const struct sim_inode *inode, struct fates *fates)
{
	for (size_t i = 0; i < inode->leaf_count; i++) {
		const struct sim_leaf *leaf = inode->leaves[i];
		for (uint64_t bits = leaf != NULL ? leaf->pending : 0; bits != 0; bits &= bits - 1) {
			const struct sim_version *version = leaf->units[__builtin_ctzll(bits)].newest;
			for (; version != NULL; version = version->older)
				add_fate(fates, version->stamp);
		}
	}
	for (size_t i = 0; i < inode->size_count; i++)
		add_fate(fates, inode->sizes[i].stamp);
	if (fates->count == 0)
		return;
	qsort(fates->rows, fates->count, sizeof(*fates->rows), compare_fates);
	size_t kept = 1;
	for (size_t i = 1; i < fates->count; i++)
		if (fates->rows[i].stamp != fates->rows[kept - 1].stamp)
			fates->rows[kept++] = fates->rows[i];
	fates->count = kept;
}

static struct fate *find_fate(const struct fates *fates, uint64_t stamp)
{
	struct fate key = { .stamp = stamp };
	return bsearch(&key, fates->rows, fates->count, sizeof(key), compare_fates);
}

static void draw_cut(struct draw *draw, struct fates *fates)
{
	fates->cut = UINT64_MAX;
	if (!draw->crash->ordered || draw->keep == SIMULATED_KEEP_ALL || fates->count == 0)
		return;
	if (draw->keep == SIMULATED_KEEP_NONE) {
		fates->cut = 0;
		return;
	}
	size_t at = (size_t)random_below(&draw->random, fates->count + 1);
	if (at < fates->count)
		fates->cut = fates->rows[at].stamp;
}

static bool is_same(const struct draw *draw, const struct sim_cell *a, const struct sim_cell *b)
{
	return a == b ||
	       (a != NULL && b != NULL && memcmp(a->bytes, b->bytes, draw->world->options.unit_bytes) == 0);
}

/* The content that the version has put another one upon. */
static const struct sim_cell *cell_below(const struct sim_unit *unit, const struct sim_version *version)
{
	return version->older != NULL ? version->older->cell : unit->durable;
}

/* Among contents that differ from the one before. NULL: the durable one. */
static const struct sim_version *choose_content(struct draw *draw, const struct sim_unit *unit)
{
	uint32_t count = 0;
	for (const struct sim_version *version = unit->newest; version != NULL; version = version->older)
		count += !is_same(draw, version->cell, cell_below(unit, version));
	uint32_t newer = count - choose(draw, count + 1); /* so many are too new */
	for (const struct sim_version *version = unit->newest; version != NULL; version = version->older) {
		if (is_same(draw, version->cell, cell_below(unit, version)))
			continue;
		if (newer-- == 0)
			return version;
	}
	return NULL;
}

/* NULL: the durable content. */
static const struct sim_version *choose_version(struct draw *draw, const struct fates *fates,
						const struct sim_unit *unit)
{
	const struct sim_version *newest = unit->newest;
	if (is_chosen(draw))
		return choose_content(draw, unit);
	if (draw->crash->ordered) {
		while (newest != NULL && (newest->stamp > fates->cut ||
					  (newest->stamp == fates->cut && happens(draw, ALWAYS / 2))))
			newest = newest->older;
		return newest;
	}
	if (!happens(draw, draw->contents))
		return NULL;
	if (draw->keep == SIMULATED_KEEP_ALL)
		return newest;
	unsigned candidates = 0;
	const struct sim_version *chosen = NULL;
	for (const struct sim_version *version = newest; version != NULL; version = version->older)
		if (random_below(&draw->random, ++candidates) == 0)
			chosen = version;
	return chosen;
}

static struct sim_cell *make_garbage(struct draw *draw)
{
	uint64_t words[IO_PAGE_BYTES / 8 / 4];
	size_t unit_bytes = draw->world->options.unit_bytes;
	struct sim_cell *cell = sim_take(sizeof(*cell) + unit_bytes);
	cell->references = 1;
	for (size_t done = 0; done < unit_bytes; done += sizeof(words)) {
		for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
			words[i] = random_next(&draw->random);
		size_t part = unit_bytes - done < sizeof(words) ? unit_bytes - done : sizeof(words);
		memcpy(cell->bytes + done, words, part);
	}
	return cell;
}

static void note_choice(struct draw *draw, const struct fates *fates, const struct sim_unit *unit,
			const struct sim_version *chosen)
{
	bool reached = false;
	for (const struct sim_version *version = unit->newest; version != NULL; version = version->older) {
		struct fate *fate = find_fate(fates, version->stamp);
		reached |= version == chosen;
		fate->kept += reached;
		fate->lost += !reached;
	}
	sim_note(draw->world, chosen == NULL	       ? SIMULATED_UNIT_OLD
			      : chosen == unit->newest ? SIMULATED_UNIT_NEWEST
						       : SIMULATED_UNIT_BETWEEN);
}

static void settle_unit(struct draw *draw, const struct fates *fates, struct sim_unit *unit,
			uint64_t first_under_way)
{
	/* Garbage can only be where the storage was writing at the moment of the crash. */
	bool garbage = draw->crash->garbage && draw->keep == SIMULATED_KEEP_SOME &&
		       unit->newest->stamp >= first_under_way && happens(draw, ALWAYS / 4);
	const struct sim_version *chosen = choose_version(draw, fates, unit);
	struct sim_cell *cell;
	if (garbage) {
		cell = make_garbage(draw);
		sim_note(draw->world, SIMULATED_UNIT_GARBAGE);
	} else {
		note_choice(draw, fates, unit, chosen);
		cell = sim_cell_share(chosen != NULL ? chosen->cell : unit->durable);
	}
	sim_cell_drop(unit->durable);
	unit->durable = cell;
	sim_unit_drop_pending(unit);
}

static void settle_size(struct draw *draw, const struct fates *fates, struct sim_inode *inode)
{
	uint64_t size = inode->durable_size;
	if (inode->size_count > 0) {
		size_t chosen = inode->size_count; /* this many are not too new */
		if (is_chosen(draw)) {
			chosen = choose(draw, (uint32_t)inode->size_count + 1);
		} else if (draw->crash->ordered) {
			while (chosen > 0 &&
			       (inode->sizes[chosen - 1].stamp > fates->cut ||
				(inode->sizes[chosen - 1].stamp == fates->cut && happens(draw, ALWAYS / 2))))
				chosen--;
		} else if (!happens(draw, draw->contents)) {
			chosen = 0;
		} else if (draw->keep == SIMULATED_KEEP_SOME) {
			chosen = 1 + (size_t)random_below(&draw->random, chosen);
		}
		if (chosen > 0 && inode->sizes[chosen - 1].size > size)
			size = inode->sizes[chosen - 1].size;
		sim_note(draw->world, size > inode->durable_size ? SIMULATED_SIZE_NEW : SIMULATED_SIZE_OLD);
	}
	inode->size = inode->durable_size = size;
	inode->size_count = 0;
}

/* What lies beyond the size is zeros to whoever lets the file grow over it again. */
static void clear_beyond(const struct simulated_world *world, struct sim_inode *inode)
{
	uint64_t unit_bytes = world->options.unit_bytes;
	uint64_t units = (inode->size + unit_bytes - 1) / unit_bytes;
	for (uint64_t index = units; index < (uint64_t)inode->leaf_count * LEAF_UNITS; index++) {
		struct sim_unit *unit = sim_unit_find(inode, index);
		if (unit == NULL) {
			index |= LEAF_UNITS - 1;
			continue;
		}
		inode->leaves[index / LEAF_UNITS]->allocated &= ~(UINT64_C(1) << index % LEAF_UNITS);
		sim_cell_drop(unit->durable);
		unit->durable = NULL;
	}
	struct sim_unit *last = inode->size % unit_bytes != 0 ? sim_unit_find(inode, units - 1) : NULL;
	if (last == NULL || last->durable == NULL)
		return;
	struct sim_cell *cut = sim_take(sizeof(*cut) + unit_bytes);
	cut->references = 1;
	memcpy(cut->bytes, last->durable->bytes, (size_t)(inode->size % unit_bytes));
	sim_cell_drop(last->durable);
	last->durable = cut;
}

static void note_fates(struct draw *draw, const struct fates *fates, uint64_t first_under_way)
{
	for (size_t i = 0; i < fates->count; i++) {
		const struct fate *fate = &fates->rows[i];
		if (fate->kept > 0 && fate->lost > 0)
			sim_note(draw->world, SIMULATED_WRITE_TORN);
		if (fate->stamp >= first_under_way && fate->kept > 0)
			sim_note(draw->world, SIMULATED_WRITE_UNDER_WAY_KEPT);
		if (fate->stamp >= first_under_way && fate->lost > 0)
			sim_note(draw->world, SIMULATED_WRITE_UNDER_WAY_LOST);
	}
}

static void settle_file(struct draw *draw, struct sim_inode *inode, uint64_t first_under_way)
{
	struct fates fates = { 0 };
	collect_fates(inode, &fates);
	draw_cut(draw, &fates);
	for (size_t i = 0; i < inode->leaf_count; i++) {
		struct sim_leaf *leaf = inode->leaves[i];
		if (leaf == NULL)
			continue;
		for (uint64_t bits = leaf->pending; bits != 0; bits &= bits - 1)
			settle_unit(draw, &fates, &leaf->units[__builtin_ctzll(bits)], first_under_way);
		leaf->pending = 0;
	}
	if (fates.count > 0) {
		settle_size(draw, &fates, inode);
		clear_beyond(draw->world, inode);
	}
	inode->late_error = false;
	note_fates(draw, &fates, first_under_way);
	sim_drop(fates.rows);
}

/* --- loss of power: names --- */

static void note_change(struct simulated_world *world, const struct sim_change *change, bool kept)
{
	switch (change->operation) {
	case IO_OPEN:
		sim_note(world, kept ? SIMULATED_CREATE_KEPT : SIMULATED_CREATE_LOST);
		break;
	case IO_RENAME:
		sim_note(world, kept ? SIMULATED_RENAME_KEPT : SIMULATED_RENAME_LOST);
		break;
	case IO_UNLINK:
		sim_note(world, kept ? SIMULATED_UNLINK_KEPT : SIMULATED_UNLINK_LOST);
		break;
	default:
		sim_note(world, kept ? SIMULATED_DIRECTORY_KEPT : SIMULATED_DIRECTORY_LOST);
		break;
	}
}

static bool comes_through(struct draw *draw)
{
	return is_chosen(draw) ? choose(draw, 2) != 0 : happens(draw, draw->names);
}

static void settle_names(struct draw *draw)
{
	struct simulated_world *world = draw->world;
	size_t count = 0;
	for (const struct sim_change *change = world->changes; change != NULL; change = change->next)
		count++;
	size_t until = count;
	if (draw->keep == SIMULATED_KEEP_NONE)
		until = 0;
	else if (draw->crash->ordered && draw->keep == SIMULATED_KEEP_SOME)
		until = (size_t)random_below(&draw->random, count + 1);
	for (size_t i = 0; world->changes != NULL; i++) {
		struct sim_change *change = world->changes;
		world->changes = change->next;
		bool kept = i < until && (draw->crash->ordered || comes_through(draw));
		if (kept)
			sim_change_apply(world, change);
		note_change(world, change, kept);
		sim_change_free(world, change);
	}
	world->changes_end = &world->changes;
}

/* Readers see what is durable, in the directories that are. */
static void show_durable(struct simulated_world *world)
{
	for (struct sim_inode *inode = world->inodes; inode != NULL; inode = inode->next)
		sim_inode_hold(inode);
	for (struct sim_inode *inode = world->inodes; inode != NULL; inode = inode->next)
		sim_names_clear(world, &inode->seen, true);
	for (struct sim_inode *inode = world->inodes; inode != NULL; inode = inode->next)
		for (size_t i = 0; i < inode->durable.count; i++)
			sim_names_set(world, &inode->seen, inode->durable.entries[i].name,
				      inode->durable.entries[i].inode, true);
	for (struct sim_inode *inode = world->inodes; inode != NULL; inode = inode->next)
		inode->references--;
}

struct simulated_world *simulated_crash(const struct simulated_world *world,
					const struct simulated_crash *crash)
{
	struct simulated_world *made = copy_world(world, crash->seed);
	struct draw draw = begin_draw(made, crash);
	uint64_t first_under_way = made->stamp + 1;
	count_room(made);
	keep_under_way(&draw, world);
	if (crash->kind == SIMULATED_POWER) {
		settle_names(&draw);
		for (struct sim_inode *inode = made->inodes; inode != NULL; inode = inode->next)
			settle_file(&draw, inode, first_under_way);
		show_durable(made);
	}
	drop_unreachable(made);
	count_room(made);
	return made;
}
