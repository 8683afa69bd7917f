/*
 * INV-SNAP-1  Whoever drops a version because of a newer one with sequence X sees every snapshot with a
 *             sequence below X. A snapshot enters (live, slot) before it reads the counter; a dropper reads
 * the table after X was drawn from the counter. In the one order of these sequentially consistent accesses, a
 * snapshot that read less than X entered before X was drawn.
 */
#include "base/assert.h"
#include "base/memory.h"
#include "database/database_internal.h"

#include "base/poison.h"

/*
 * A slot's word: 0 while it is free, else the sequence plus one (so that sequence 0, before anything was
 * written, is no free slot and no other sequence either), and in the lowest bit whether it is still a lower
 * bound only.
 */
static uint64_t slot_word(uint64_t sequence, bool pending)
{
	return 2 * (sequence + 1) + pending;
}

static uint64_t slot_sequence(uint64_t word)
{
	return word / 2 - 1;
}

static bool slot_is_pending(uint64_t word)
{
	return (word & 1) != 0;
}

void snapshots_init(struct snapshot_table *table, uint64_t last_sequence)
{
	atomic_init(&table->sequence, last_sequence);
	atomic_init(&table->live, 0);
	atomic_init(&table->high, 0);
	for (unsigned i = 0; i < SNAPSHOTS_MAX; i++)
		atomic_init(&table->slots[i], 0);
}

uint64_t snapshots_next_sequence(struct snapshot_table *table)
{
	uint64_t sequence = atomic_fetch_add(&table->sequence, 1) + 1;
	ASSERT(sequence < SEQUENCE_MAX);
	return sequence;
}

static void raise_high(struct snapshot_table *table, uint32_t count)
{
	uint32_t high = atomic_load(&table->high);
	while (high < count && !atomic_compare_exchange_weak(&table->high, &high, count))
		;
}

uint32_t snapshots_enter(struct snapshot_table *table, uint64_t *sequence)
{
	atomic_fetch_add(&table->live, 1);
	uint64_t pending = slot_word(atomic_load(&table->sequence), true);
	for (uint32_t slot = 0; slot < SNAPSHOTS_MAX; slot++) {
		uint64_t free_slot = 0;
		if (atomic_load_explicit(&table->slots[slot], memory_order_relaxed) != 0)
			continue;
		raise_high(table, slot + 1);
		if (!atomic_compare_exchange_strong(&table->slots[slot], &free_slot, pending))
			continue;
		*sequence = atomic_load(&table->sequence);
		atomic_store(&table->slots[slot], slot_word(*sequence, false));
		return slot;
	}
	atomic_fetch_sub(&table->live, 1);
	return SNAPSHOTS_MAX;
}

void snapshots_leave(struct snapshot_table *table, uint32_t slot)
{
	ASSERT(slot < SNAPSHOTS_MAX);
	atomic_store(&table->slots[slot], 0);
	atomic_fetch_sub(&table->live, 1);
}

uint64_t snapshots_oldest(struct snapshot_table *table)
{
	uint64_t oldest = UINT64_MAX;
	if (atomic_load(&table->live) == 0)
		return oldest;
	uint32_t high = atomic_load(&table->high);
	for (uint32_t slot = 0; slot < high; slot++) {
		uint64_t word = atomic_load(&table->slots[slot]);
		if (word != 0 && slot_sequence(word) < oldest)
			oldest = slot_sequence(word);
	}
	return oldest;
}

size_t snapshots_list(struct snapshot_table *table, uint64_t *sequences, size_t capacity)
{
	size_t count = 0;
	if (atomic_load(&table->live) == 0)
		return 0;
	uint32_t high = atomic_load(&table->high);
	for (uint32_t slot = 0; slot < high; slot++) {
		uint64_t word = atomic_load(&table->slots[slot]);
		if (word == 0)
			continue;
		if (slot_is_pending(word))
			return SIZE_MAX;
		if (count < capacity) {
			size_t at = count;
			for (; at > 0 && sequences[at - 1] > slot_sequence(word); at--)
				sequences[at] = sequences[at - 1];
			sequences[at] = slot_sequence(word);
		}
		count++;
	}
	return count;
}

cascade_status cascade_snapshot_create(cascade *db, cascade_snapshot **snapshot)
{
	if (db == NULL || snapshot == NULL)
		return database_report(status_error(STATUS_INVALID, "db and snapshot must be given"));
	cascade_snapshot *made = memory_allocate(sizeof(*made));
	if (made == NULL)
		return database_report(status_make(STATUS_NO_MEMORY));
	made->db = db;
	made->slot = snapshots_enter(&db->snapshots, &made->sequence);
	if (made->slot == SNAPSHOTS_MAX) {
		memory_free(made);
		return database_report(
			status_error(STATUS_BUSY, "%d snapshots are live already", (int)SNAPSHOTS_MAX));
	}
	atomic_fetch_add(&db->handles, 1);
	*snapshot = made;
	return CASCADE_OK;
}

void cascade_snapshot_release(cascade_snapshot *snapshot)
{
	if (snapshot == NULL)
		return;
	snapshots_leave(&snapshot->db->snapshots, snapshot->slot);
	atomic_fetch_sub(&snapshot->db->handles, 1);
	memory_free(snapshot);
}
